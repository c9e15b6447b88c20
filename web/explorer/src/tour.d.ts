/** The tour of README.md, from the plugin in vite.config.ts. */
declare module 'virtual:tour' {
  const steps: readonly { name: string; query: string }[];
  export default steps;
}
