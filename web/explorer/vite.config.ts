import { defineConfig } from 'vite';

export default defineConfig({
  base: '/graphiql/',
  build: {
    chunkSizeWarningLimit: 3000, // Monaco is one large chunk, which browsers download once.
    rolldownOptions: {
      onLog(level, log, report) {
        // Libraries have directives such as "use client", which have no meaning without server-side rendering.
        if (log.code !== 'MODULE_LEVEL_DIRECTIVE') report(level, log);
      },
    },
  },
});
