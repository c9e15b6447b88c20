// Reads the tour of README.md. The tabs of both explorers are its steps, so that the tour exists only once.

import { fileURLToPath } from 'node:url';

export const README = fileURLToPath(new URL('../../README.md', import.meta.url));

/** Width of the comments in a tab, in characters. A tab is half as wide as the window. */
const COMMENT_WIDTH = 46;
const STEP = /^\*\*(\d+)\. (\w+)\.\*\*([^]*?)^```graphql\n([^]*?)^```$/gm;

/** Returns the steps of the tour in README.md, in their order: the name of each, and the document of its tab. */
export function steps(readme) {
  const tour = /^## A tour$([^]*?)^## /m.exec(readme + '\n## ')?.[1] ?? '';
  const found = [...tour.matchAll(STEP)].map(([, number, name, text, operation]) => ({
    name,
    query: `${comment(`${number}. ${name}. ${plain(text)}`)}\n${operation}`,
  }));
  if (found.length === 0) throw new Error('README.md has no tour');
  return found;
}

/** Removes the marks of Markdown and the line breaks. */
function plain(text) {
  return text
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[*`]/g, '')
    .trim()
    .replace(/\s+/g, ' ');
}

function comment(text) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) && `${lines.at(-1)} ${word}`;
    if (line && line.length <= COMMENT_WIDTH - 2) lines[lines.length - 1] = line;
    else if (lines.at(-1)) lines.push(word);
    else lines[0] = word;
  }
  return lines.map((line) => `# ${line}`).join('\n');
}
