// Compares the server with graphql-js, the reference implementation. For random requests, both must agree whether the
// document is valid and where it breaks a rule, and must coerce the variables to the same values. The seeds are fixed.
// A failure prints its seed.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  buildSchema,
  getNamedType,
  getVariableValues,
  GraphQLError,
  isNonNullType,
  Kind,
  OperationTypeNode,
  parse,
  specifiedRules,
  TypeInfo,
  validate,
  ValidationContext,
} from 'graphql';
import { collectFields } from 'graphql/execution/collectFields.js';
import { Generator } from './random-documents.mjs';
import { BINARY } from './servers.mjs';

const DOCUMENTS = 3000;
/** Maximum number of differences that a failure prints. */
const SHOWN = 20;
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;
const TIMEOUT_MS = 110_000;
/**
 * Rules whose errors have the location of the node that breaks the rule. Places are compared in documents that break no
 * other rule.
 */
const LOCATED = new Set([
  'FieldsOnCorrectType',
  'KnownArgumentNames',
  'KnownDirectives',
  'NoUndefinedVariables',
  'ProvidedRequiredArguments',
]);
/** The format of the scalar DateTime (RFC 3339). graphql-js knows only the name of the scalar. */
const DATE_TIME = /^(\d{4}-\d{2}-\d{2})[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;
/** Whether a day exists. JavaScript parses February 30 as March 2. */
const isDay = (day) => new Date(`${day}T00:00:00Z`).toJSON()?.startsWith(day);

const schema = buildSchema(readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8'));
const dateTime = schema.getType('DateTime');
dateTime.parseValue = (value) => {
  if (typeof value !== 'string' || !isDay(DATE_TIME.exec(value)?.[1])) throw new GraphQLError('not a DateTime');
  return value;
};
dateTime.parseLiteral = (node) => dateTime.parseValue(node.kind === Kind.STRING ? node.value : undefined);
// graphql-js 16 has deprecated directives, which the specification of September 2025 does not have.
const { directives } = schema.getType('__Schema').getFields();
directives.args = directives.args.filter(({ name }) => name !== 'includeDeprecated');
for (const name of ['isDeprecated', 'deprecationReason']) delete schema.getType('__Directive').getFields()[name];
// The server limits introspection as a part of the cost of a document, which is not compared here.
const rules = [
  ...specifiedRules.filter(({ name }) => name !== 'MaxIntrospectionDepthRule'),
  OneOfVariablesRule,
  SubscriptionFieldRule,
];

/**
 * Refuses nullable variables as fields of a `@oneOf` input object, unless they have a default that is not null (section
 * 5.8.5). graphql-js 16 has this rule, but does not apply it if the input object itself must not be null.
 */
function OneOfVariablesRule(context) {
  const defined = new Map();
  return {
    OperationDefinition: {
      enter: () => defined.clear(),
      leave(operation) {
        for (const { node, parentType } of context.getRecursiveVariableUsages(operation)) {
          const { type, defaultValue } = defined.get(node.name.value) ?? {};
          const hasValue = defaultValue !== undefined && defaultValue.kind !== Kind.NULL;
          if (!getNamedType(parentType)?.isOneOf || type === undefined) continue;
          if (type.kind !== Kind.NON_NULL_TYPE && !hasValue) context.reportError(new GraphQLError('a nullable variable'));
        }
      },
    },
    VariableDefinition: (node) => void defined.set(node.variable.name.value, node),
  };
}

/** Refuses a subscription if `@skip` and `@include` exclude all fields at its root. graphql-js accepts it. */
function SubscriptionFieldRule(context) {
  const definitions = context.getDocument().definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION);
  const fragments = Object.fromEntries(definitions.map((fragment) => [fragment.name.value, fragment]));
  return {
    OperationDefinition({ operation, selectionSet }) {
      if (operation !== OperationTypeNode.SUBSCRIPTION) return;
      const fields = collectFields(schema, fragments, {}, schema.getSubscriptionType(), selectionSet);
      if (fields.size === 0) context.reportError(new GraphQLError('a subscription without fields'));
    },
  };
}

/**
 * Whether a variable with a default is null and stands where null is not allowed. The server refuses it before the
 * execution. graphql-js refuses it when it executes the field or the directive.
 */
function usesNull(document, operation, values) {
  const context = new ValidationContext(schema, document, new TypeInfo(schema), () => {});
  const definitions = new Map(operation.variableDefinitions?.map((node) => [node.variable.name.value, node]));
  return context.getRecursiveVariableUsages(operation).some(({ node, type, parentType }) => {
    const kind = definitions.get(node.name.value)?.defaultValue?.kind;
    if (values[node.name.value] !== null || kind === undefined || kind === Kind.NULL) return false;
    return isNonNullType(type) || getNamedType(parentType)?.isOneOf;
  });
}

/** Returns a rule that adds its name to its errors. */
function named(rule) {
  const name = rule.name.replace(/Rule$/, '');
  return (context) => {
    const reportError = (error) => context.reportError(Object.assign(error, { rule: name }));
    return rule(Object.create(context, { reportError: { value: reportError } }));
  };
}

/** Returns the line and column of an offset. The server counts characters, but graphql-js counts UTF-16 units. */
function place(text, offset) {
  const lines = text.slice(0, offset).split(/\r\n|\n|\r/);
  return `${lines.length}:${[...lines.at(-1)].length + 1}`;
}

/** Returns the rule and the places of each error. A field with an alias has two places: its alias and its name. */
function places(query, errors) {
  if (!errors.every(({ rule }) => LOCATED.has(rule))) return undefined;
  return errors.map(({ rule, nodes: [{ loc, name }] }) =>
    [loc, name?.loc ?? loc].map(({ start }) => `${rule} ${place(query, start)}`),
  );
}

/** Returns the result of graphql-js for a request: whether the document is valid, and the coerced variables. */
function judge({ query, variables }) {
  try {
    const document = parse(query);
    const errors = validate(schema, document, rules.map(named), { maxErrors: Infinity });
    if (errors.length > 0) return { valid: false, reason: errors[0].message, places: places(query, errors) };
    const operation = document.definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION).at(-1);
    const name = operation.name?.value;
    const { coerced, errors: wrong } = getVariableValues(schema, operation.variableDefinitions ?? [], variables);
    if (coerced && usesNull(document, operation, coerced)) return { valid: true, name, reason: 'a variable is null' };
    return { valid: true, name, coerced, reason: wrong?.[0].message };
  } catch (error) {
    // graphql-js throws an error if a condition at the root of a subscription is a variable.
    if (error instanceof GraphQLError) return { valid: false, reason: error.message };
    throw error;
  }
}

/** Returns the results of `parlance check-documents` for these requests. */
async function check(requests) {
  const output = await new Promise((resolve, reject) => {
    const done = (error, stdout) => (error ? reject(error) : resolve(stdout));
    const child = execFile(BINARY, ['check-documents'], { maxBuffer: MAX_OUTPUT_BYTES }, done);
    child.stdin.end(requests.map((request) => `${JSON.stringify(request)}\n`).join(''));
  });
  return output.trimEnd().split('\n').map((line) => JSON.parse(line));
}

/** Returns a value with the members of its objects in alphabetical order. */
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

/**
 * Returns the places of the server's errors that graphql-js does not have, and the place of the first error of graphql-js
 * if the server does not have it. The server does not report the errors of fragments in unknown fields.
 */
function misplaced(answer, expected) {
  if (expected.places === undefined) return [];
  const found = answer.errors.flatMap(({ extensions, locations }) =>
    locations.map(({ line, column }) => `${extensions.rule} ${line}:${column}`),
  );
  const [first] = expected.places;
  const missing = first.some((one) => found.includes(one)) ? [] : first;
  return [...missing, ...found.filter((one) => !expected.places.flat().includes(one))];
}

test('the server and graphql-js agree about random documents and variables', { timeout: TIMEOUT_MS }, async (context) => {
  const cases = Array.from({ length: DOCUMENTS }, (_, index) => {
    const request = JSON.parse(JSON.stringify(new Generator(schema, index + 1).request()));
    return { seed: index + 1, request, expected: judge(request) };
  });
  const answers = await check(cases.map(({ request, expected }) => ({ ...request, operationName: expected.name })));
  assert.equal(answers.length, DOCUMENTS);
  const differences = cases.flatMap(({ seed, request, expected }, index) => {
    const { valid, variables, errors } = answers[index];
    const same = JSON.stringify(sorted(variables)) === JSON.stringify(sorted(expected.coerced));
    const elsewhere = misplaced(answers[index], expected);
    if (valid === expected.valid && same && elsewhere.length === 0) return [];
    return [{ seed, ...request, expected, valid, variables, errors, elsewhere }];
  });
  const count = (predicate) => cases.filter(({ expected }) => predicate(expected)).length;
  const [valid, coerced, located] = ['valid', 'coerced', 'places'].map((name) => count((one) => one[name]));
  const shares = `${valid} documents are valid, ${coerced} also have valid variables, ${located} have comparable places`;
  context.diagnostic(shares);
  // The test is useful only if all these cases are frequent.
  assert.ok(valid > 0.4 * DOCUMENTS && valid < 0.6 * DOCUMENTS, shares);
  assert.ok(coerced > 0.4 * DOCUMENTS && located > 0.04 * DOCUMENTS, shares);
  assert.deepEqual(differences.slice(0, SHOWN), [], `${differences.length} differences`);
});

test('the error for a violation has the rule, the line and the column', { timeout: TIMEOUT_MS }, async () => {
  const [unknown, accents, separators, conflict] = await check([
    { query: '{\n  viewer { user { nope } }\n}' },
    { query: '{ a: user(by: {username: "\u00e9\u{1F600}"}) { nope } }' },
    { query: '{ a: user(by: {username: "\u2028\u0085\u000b"}) { nope }\r\n  nope }' },
    { query: '{ viewer { user { n: username } user { n: displayName } } }' },
  ]);
  assert.equal(unknown.errors[0].extensions.rule, 'FieldsOnCorrectType');
  assert.deepEqual(unknown.errors[0].locations, [{ line: 2, column: 19 }]);
  // Columns count characters. Only LF, CR and CRLF end a line.
  assert.deepEqual(accents.errors[0].locations, [{ line: 1, column: 35 }]);
  const locations = separators.errors.flatMap((error) => error.locations);
  assert.deepEqual(locations, [{ line: 1, column: 36 }, { line: 2, column: 3 }]);
  assert.equal(conflict.errors[0].extensions.rule, 'OverlappingFieldsCanBeMerged');
});
