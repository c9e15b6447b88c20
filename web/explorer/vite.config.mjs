import { readFileSync } from 'node:fs';
import { defineConfig } from 'vite';
import { README, steps } from './tour.mjs';

/** Provides the steps of the tour in README.md as a module. */
const tour = {
  name: 'tour',
  resolveId: (id) => (id === 'virtual:tour' ? '\0virtual:tour' : undefined),
  load(id) {
    if (id !== '\0virtual:tour') return undefined;
    this.addWatchFile(README);
    return `export default ${JSON.stringify(steps(readFileSync(README, 'utf8')))}`;
  },
};

export default defineConfig({
  base: '/graphiql/',
  plugins: [tour],
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
