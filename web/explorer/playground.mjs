// Adds GraphQL Playground to the explorer's build. The package is no longer developed and has 420 dependencies, but two
// of its files contain all of them. So this script downloads only the package, checks its hash, and copies these files.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { README, steps } from './tour.mjs';

const PACKAGE = 'graphql-playground-react@1.7.28';
const INTEGRITY = 'sha512-YPR33Ph9kuKlFOMpc8mKGsL/fOiX0ltgzV1BokXYNsBLtTVQnhdCSKQuZg80CcxWKD8syNuWXDkGZSAdFkwmRg==';
const FILES = ['js/middleware.js', 'css/middleware.css'];

const work = join('node_modules', '.playground');
const target = join('dist', 'playground');

mkdirSync(work, { recursive: true });
const run = (command, args) => execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
const archive = run('npm', ['pack', PACKAGE, '--silent', '--pack-destination', work]).trim();
const digest = createHash('sha512').update(readFileSync(join(work, archive))).digest('base64');
if (`sha512-${digest}` !== INTEGRITY) throw new Error(`${PACKAGE} has another hash than expected: sha512-${digest}`);
const inside = FILES.map((file) => `package/build/static/${file}`);
run('tar', ['-xzf', join(work, archive), '-C', work, ...inside]);

mkdirSync(target, { recursive: true });
for (const file of inside) cpSync(join(work, file), join(target, file.split('/').at(-1)));
cpSync('playground', target, { recursive: true });
writeFileSync(join(target, 'tour.js'), `const TOUR = ${JSON.stringify(steps(readFileSync(README, 'utf8')))};\n`);
rmSync(work, { recursive: true });
