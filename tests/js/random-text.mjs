// Changes the text of random documents: the ignored tokens between its tokens, and single tokens as a typing error
// would change them. `next` returns random numbers from 0 to 1.

/** The tokens and comments of a document (section 2.1.6 of the specification). Any other character is one token. */
const TOKEN =
  /"""(?:\\"""|[^])*?"""|"(?:\\.|[^"\\\n\r])*"|#[^\n\r]*|\.\.\.|[A-Za-z_]\w*|-?\d(?:[eE][+-]|[\w.])*|[^\s,\ufeff]/gu;
/** Tokens that need no space before or after them. A spread is not among them, because `1...` is not a number. */
const GLUE = /^[{}()[\]:=!|&@$]$/;
/** Ignored tokens (section 2.1.7). A comment ends at a line feed or a carriage return, but not at U+2028. */
const IGNORED = [
  ...[' ', ' ', ' ', '  ', '\n', '\n', '\t', '\r', '\r\n', ',', ', ', ' ,', ',,', '\n,\n', '\ufeff'],
  ...['# note\n', '#\r', '#"""\r\n', '# { d\u00e9j\u00e0 \u{1F600} " \u2028 }\n', '#,\u0085)\r'],
];
const INSERTED = [
  ...[',', ':', '$', '!', '[', ']', '{', '}', '(', ')', '=', '@', '|', '&', '...', '..', '"', '""', '"""', '#', '\\'],
  ...['on', 'x', 'null', 'true', '0', '-', '.', '?', ';', '%', ' extend ', '\u0000', '\ufeff', '\u00e9', '\u2028'],
];

const pick = (list, next) => list[Math.floor(next() * list.length)];

/** Returns the document with other ignored tokens between its tokens. The meaning of a valid document is the same. */
export function spaced(text, next) {
  const tokens = [...text.matchAll(TOKEN)].map(([token]) => token).filter((token) => !token.startsWith('#'));
  const parts = [next() < 0.1 ? pick(IGNORED, next) : ''];
  tokens.forEach((token, index) => {
    const glued = GLUE.test(token) || GLUE.test(tokens[index + 1] ?? '{');
    parts.push(token, glued && next() < 0.4 ? '' : pick(IGNORED, next));
  });
  return parts.join('');
}

/** Returns the document after one mistake: a token is deleted, doubled, inserted or moved, or a quote is. */
export function mistyped(text, next) {
  const found = [...text.matchAll(TOKEN)].map((match) => [match.index, match.index + match[0].length]);
  const punctuators = found.filter(([start, end]) => GLUE.test(text.slice(start, end)));
  const quotes = [...text.matchAll(/"/g)].map(({ index }) => [index, index + 1]);
  const colons = found.filter(([start]) => text[start] === ':');
  const replace = ([start, end], by) => text.slice(0, start) + by + text.slice(end);
  const any = pick(next() < 0.6 && punctuators.length > 0 ? punctuators : found, next);
  const [start, end] = any;
  const roll = next();
  if (roll < 0.1) return spliced(text, next);
  if (roll < 0.25) return replace(any, '');
  if (roll < 0.35) return replace(any, `${text.slice(start, end)} ${text.slice(start, end)}`);
  if (roll < 0.45) return replace([start, start], `${pick(INSERTED, next)} `);
  if (roll < 0.5) return replace([start, start], ',');
  if (roll < 0.7 && quotes.length > 0) return replace(pick(quotes, next), pick(['', '""', '"""', '"\n', '\n"'], next));
  if (roll < 0.9 && colons.length > 0) return withoutValue(text, pick(colons, next), found, next);
  return swapped(text, any, found);
}

/** Deletes a colon, and in half of the cases also the token after it: `(first)` instead of `(first: 1)`. */
function withoutValue(text, [start, end], found, next) {
  const after = found.find(([from]) => from >= end);
  return text.slice(0, start) + ' ' + text.slice(after && next() < 0.5 ? after[1] : end);
}

/** Swaps a token with the next one. */
function swapped(text, [start, end], found) {
  const after = found.find(([from]) => from >= end);
  if (!after) return text;
  return [text.slice(0, start), text.slice(...after), text.slice(end, after[0]), text.slice(start, end), text.slice(after[1])].join('');
}

/** Replaces up to three characters anywhere in the text. */
function spliced(text, next) {
  // A list of code points, because half of a surrogate pair cannot be sent as JSON.
  const characters = [...text];
  characters.splice(Math.floor(next() * characters.length), pick([0, 0, 1, 1, 3], next), pick(INSERTED, next));
  return characters.join('');
}
