// Checks that a response has exactly the fields that its document selects (GraphQL specification, section 6.3), with the
// functions by which graphql-js executes documents.

import assert from 'node:assert/strict';
import {
  getVariableValues,
  isAbstractType,
  isCompositeType,
  isListType,
  isNonNullType,
  Kind,
  parse,
  print,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import { collectFields, collectSubfields } from 'graphql/execution/collectFields.js';

/** Alias of the `__typename` that is added to each selection set. */
export const TYPE = 't__';

const named = (value) => ({ kind: Kind.NAME, value });
const TYPENAME = { kind: Kind.FIELD, alias: named(TYPE), name: named('__typename') };

/** Returns the document with `t__: __typename` in each selection set, except at the root of a subscription. */
export function withTypes(schema, query) {
  const info = new TypeInfo(schema);
  const leave = (set) =>
    info.getParentType() === schema.getSubscriptionType()
      ? undefined
      : { ...set, selections: [TYPENAME, ...set.selections] };
  return print(visit(parse(query), visitWithTypeInfo(info, { SelectionSet: { leave } })));
}

/**
 * Asserts that `data` is a possible response to a document of `withTypes`: each object has exactly the selected fields,
 * in the order of the selections, and is of a possible type. Returns the names of the types of all objects.
 */
export function assertSelected(schema, { query, variables }, data) {
  const { definitions } = parse(query);
  const operation = definitions.find(({ kind }) => kind === Kind.OPERATION_DEFINITION);
  const others = definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION);
  const fragments = Object.fromEntries(others.map((fragment) => [fragment.name.value, fragment]));
  const { coerced, errors } = getVariableValues(schema, operation.variableDefinitions ?? [], variables);
  assert.equal(errors, undefined);
  const seen = [];

  function assertObject(object, type, fields, path) {
    assert.deepEqual(Object.keys(object), [...fields.keys()], `the fields of ${path}, which is of the type ${type}`);
    seen.push(type.name);
    for (const [key, nodes] of fields) {
      const name = nodes[0].name.value;
      if (name === '__typename') assert.equal(object[key], type.name, `${path}.${key}`);
      else assertValue(object[key], type.getFields()[name].type, nodes, `${path}.${key}`);
    }
  }

  function assertValue(value, type, nodes, path) {
    if (isNonNullType(type)) {
      assert.notEqual(value, null, `${path} must not be null`);
      assertValue(value, type.ofType, nodes, path);
    } else if (value === null) {
      return;
    } else if (isListType(type)) {
      assert.ok(Array.isArray(value), `${path} must be a list`);
      value.forEach((item, index) => assertValue(item, type.ofType, nodes, `${path}.${index}`));
    } else if (isCompositeType(type)) {
      const runtime = schema.getType(value[TYPE]);
      const possible = isAbstractType(type) ? schema.getPossibleTypes(type) : [type];
      assert.ok(possible.includes(runtime), `${path} is of the type ${value[TYPE]}`);
      assertObject(value, runtime, collectSubfields(schema, fragments, coerced, runtime, nodes), path);
    } else {
      assert.notEqual(typeof value, 'object', `${path} must not be an object`);
    }
  }

  const root = schema.getRootType(operation.operation);
  assertObject(data, root, collectFields(schema, fragments, coerced, root, operation.selectionSet), 'data');
  return seen;
}
