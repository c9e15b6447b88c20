import { defineConfig } from 'vite';

export default defineConfig({
  base: '/graphiql/',
  build: {
    chunkSizeWarningLimit: 3000, // Monaco is one large chunk, fetched once.
    rolldownOptions: {
      onLog(level, log, report) {
        // "use client" and the like in libraries mean nothing to a page without a server side.
        if (log.code !== 'MODULE_LEVEL_DIRECTIVE') report(level, log);
      },
    },
  },
});
