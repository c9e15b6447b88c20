// Generates random documents and variables for a schema. The same seed gives the same request, so that a failure can be
// reproduced.

import {
  doTypesOverlap,
  getNamedType,
  GraphQLScalarType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isNonNullType,
  isUnionType,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
} from 'graphql';
import { mistyped, spaced } from './random-text.mjs';

/** Maximum levels of nested selections. Keeps the documents far below the limits of the server. */
const MAX_DEPTH = 4;
/** Basic probabilities of a mistake at each place where a mistake is possible. */
const MISTAKES = [0.005, 0.01, 0.03];
/** What is wrong with a document. Often only one thing, because a mistake can hide the others. */
const FLAWS = [
  ...['nothing', 'nothing', 'nothing', 'nothing', 'the text', 'the text', 'a type'],
  ...['any places', 'any places', 'any places'],
];
const STRINGS = [
  '""',
  '"a"',
  '"d\u00e9j\u00e0"',
  '"\\u{1F600}"',
  '"\\ud83d\\ude00"',
  '"\\u00e9\\n\\t\\"\\\\\\/\\b\\f\\r"',
  '"""block"""',
  '"""a \\""" b"""',
  '"""\n    one\n      two\n\n  """',
  '"""\t"""',
  '"\u{1F600} \u65e5\u672c\u8a9e"',
  '"\u2028"',
  '"a\u2028\u2029\u0085\u000b\u000c b"',
  '"# { no comment, no bracket"',
  '""""""',
  '"""\n"""',
  '""""one" two """',
  '"""  one\n    two\n\n   three  """',
  '"""\r\n    one\r\n\ttwo\r      three\n\r  """',
  '"""d\u00e9j\u00e0\u2028\n  d\u00e9j\u00e0\u0085\n    \\u00e9"""',
];
const BAD_STRINGS = [
  ...['"\\ud83d"', '"\\u{110000}"', '"\\u12"', '"\\x"', '"\\u{}"', '"\\ude00\\ud83d"', '"\u0007"', '"open', '"""open'],
  ...['"a\nb"', '"\na"', '"\n"', '"\ra"', '"\r\n"', '"a\rb"', '"a\n', '"\\\n"', '"a""b"', '"""a""""'],
];
/** Numbers that are not an Int, and texts that are not numbers. */
const BAD_NUMBERS = [
  ...['2147483648', '1.0', '-0.0', '1e3', '1E-2', '0x1', '1a', '+1', '.5', '1.', '1.a', '1e', '1..2', '1_0', '--1'],
  ...['01', '00', '-00', '-01', '-', '0.', '1"a"', '1.5.1', '0b1', '1-1', '99999999999999999999'],
];
const DATES = ['"2026-01-01T00:00:00Z"', '"2026-01-01T00:00:00.5+02:00"', '"2026-01-01 00:00:00z"', '"2026-02-30T00:00:00Z"', '"2026-01-01"', '"soon"', '""'];
const TYPES = ['Int', 'String', 'ID', 'Boolean', 'Float', 'DateTime'];

/** Returns numbers from 0 to 1 (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Makes one random request: `{query, variables}`. */
export class Generator {
  constructor(schema, seed) {
    this.schema = schema;
    this.next = random(seed);
    this.types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith('__'));
    this.inputs = this.types.filter((type) => isInputObjectType(type) || isEnumType(type));
    this.composites = this.types.filter(isCompositeType);
    this.variables = new Map();
    this.fragments = [];
    this.flaw = this.pick(FLAWS);
    this.mistakes = this.flaw === 'any places' ? this.pick(MISTAKES) : 0;
  }

  chance(probability) {
    return this.next() < probability;
  }

  mistake(weight = 1) {
    return this.chance(this.mistakes * weight);
  }

  pick(list) {
    return list[Math.floor(this.next() * list.length)];
  }

  request() {
    const operations = this.chance(0.06) ? 2 : 1;
    const parts = [];
    for (let index = 0; index < operations; index += 1) parts.push(this.operation(index, operations));
    const used = new Set();
    for (const fragment of this.fragments) {
      if (this.mistake()) continue;
      used.add(fragment.name);
      parts.push(fragment.text);
      if (this.mistake(0.5)) parts.push(fragment.text);
    }
    if (this.mistake()) parts.push('fragment Unused on User { id }');
    if (this.mistake()) parts.push('fragment Loop on User { id ...Loop }');
    if (this.mistake(0.5)) parts.push(this.pick(['type T { a: Int }', 'scalar S', 'extend type User { a: Int }', '{ a }']));
    let query = parts.join(this.pick([' ', '\n', ', ', '\r\n# comment\n']));
    if (this.chance(0.3)) query = spaced(query, this.next);
    if (this.flaw === 'the text') query = mistyped(query, this.next);
    return { query, variables: this.values() };
  }

  operation(index, of) {
    const kind = this.pick(['query', 'query', 'query', 'mutation', 'subscription']);
    const root = { query: 'Query', mutation: 'Mutation', subscription: 'Subscription' }[kind];
    this.variables = new Map();
    const before = this.fragments.length;
    const set = this.selections(this.schema.getType(root), 0, kind === 'subscription');
    const directives = this.mistake() ? this.directives() : '';
    if (this.mistake()) this.variable('String');
    if (this.flaw === 'a type' && this.variables.size > 0) {
      const altered = this.pick([...this.variables.values()]);
      altered.type = this.altered(altered.type);
    }
    const definitions = [...this.variables].map(([name, { type, initial }]) => {
      const directive = this.mistake(0.3) ? ` ${this.directives()}` : '';
      const definition = `${this.description()}$${name}: ${type}${initial === undefined ? '' : ` = ${initial}`}${directive}`;
      return this.mistake(0.5) ? `${definition} ${definition}` : definition;
    });
    const bare = kind === 'query' && of === 1 && definitions.length === 0 && before === 0 && this.chance(0.4);
    if (bare) return set;
    const name = of > 1 && !this.mistake(3) ? ` Op${this.mistake(3) ? 0 : index}` : this.pick(['', ' Op']);
    const variables = definitions.length > 0 ? `(${definitions.join(' ')})` : '';
    return `${this.description()}${kind}${name}${variables}${directives} ${set}`;
  }

  /** Operations, variables and fragments may have descriptions since the specification of September 2025. */
  description() {
    return this.chance(0.01) ? `${this.pick(STRINGS)} ` : '';
  }

  selections(type, depth, single = false) {
    const count = single ? (this.mistake(3) ? 2 : 1) : 1 + Math.floor(this.next() * 3);
    const items = [];
    for (let index = 0; index < count; index += 1) items.push(this.selection(type, depth));
    if (this.mistake(0.3)) items.length = 0;
    return `{ ${items.join(this.pick([' ', '\n', ', ']))} }`;
  }

  selection(type, depth) {
    const roll = this.next();
    if (roll < 0.1 && depth < MAX_DEPTH + 2) {
      const on = this.condition(type);
      return `... ${this.chance(0.2) ? '' : `on ${on.name} `}${this.maybeDirectives()}${this.selections(on.isBare ? type : on, depth + 1, this.isSubscription(type))}`;
    }
    if (roll < 0.2 && depth < MAX_DEPTH + 2) return `...${this.fragment(type, depth)} ${this.maybeDirectives()}`;
    if (this.mistake()) return this.pick(['nothing', 'id { id }', '__schema { types { name } }', '__type(name: "User") { name }']);
    if (isUnionType(type) || this.chance(0.08)) return this.chance(0.3) ? 't: __typename' : '__typename';
    if (type === this.schema.getQueryType() && this.chance(0.1)) {
      return this.field(type, depth, this.pick([SchemaMetaFieldDef, TypeMetaFieldDef]));
    }
    return this.field(type, depth);
  }

  isSubscription(type) {
    return type === this.schema.getSubscriptionType();
  }

  /** Returns a type for a fragment in a selection of `type`. */
  condition(type) {
    if (this.mistake(2)) return this.pick(this.composites);
    if (this.chance(0.6)) return type;
    return this.pick([type, ...this.composites.filter((other) => doTypesOverlap(this.schema, type, other))]);
  }

  fragment(type, depth) {
    const known = this.fragments.filter((fragment) => fragment.type === type && fragment.text);
    if (known.length > 0 && this.chance(0.5)) return this.pick(known).name;
    if (this.mistake()) return 'Missing';
    const on = this.mistake() ? this.pick(this.types) : this.condition(type);
    const fragment = { name: this.mistake(0.3) ? 'on' : `F${this.fragments.length}`, type, text: '' };
    this.fragments.push(fragment);
    const set = this.selections(isCompositeType(on) ? on : type, depth + 1, this.isSubscription(type));
    const directive = this.mistake(0.3) ? `${this.directives()} ` : '';
    fragment.text = `${this.description()}fragment ${fragment.name} on ${on.name} ${directive}${set}`;
    return fragment.name;
  }

  field(type, depth, field = this.anyField(type, depth)) {
    const of = getNamedType(field.type);
    const composite = isCompositeType(of);
    const alias = this.chance(this.isSubscription(type) ? 0.02 : 0.25) ? `${this.pick(['a', 'b', 'c', 'id', 'd', 'e', 'f', 'g'])}: ` : '';
    const name = this.mistake() ? `${field.name}x` : field.name;
    let set = '';
    if (composite !== this.mistake(0.5)) {
      set = composite ? (depth > MAX_DEPTH + 2 ? '{ __typename }' : this.selections(of, depth + 1)) : '{ id }';
    }
    return `${alias}${name}${this.args(field, depth)} ${this.maybeDirectives()}${set}`;
  }

  anyField(type, depth) {
    const fields = Object.values(type.getFields());
    const leaves = fields.filter((field) => !isCompositeType(getNamedType(field.type)));
    return this.pick(depth >= MAX_DEPTH && leaves.length > 0 ? leaves : fields);
  }

  args(owner) {
    const args = [];
    for (const arg of owner.args ?? []) {
      const required = isNonNullType(arg.type) && arg.defaultValue === undefined;
      if (required ? this.mistake() : this.chance(0.6)) continue;
      const text = `${arg.name}: ${this.input(arg.type, arg.defaultValue !== undefined)}`;
      args.push(text);
      if (this.mistake(0.5)) args.push(text);
    }
    if (this.mistake()) args.push('unknown: 1');
    return args.length > 0 ? `(${args.join(this.pick([', ', ' ']))})` : '';
  }

  maybeDirectives() {
    return this.chance(0.06) || this.mistake() ? `${this.directives()} ` : '';
  }

  directives() {
    const one = () => {
      if (this.mistake(3)) return this.pick(['@nothing', '@skip', '@deprecated', '@oneOf', '@include(if: "yes")', '@include(unless: true)']);
      return `@${this.pick(['skip', 'include'])}(if: ${this.input({ of: 'Boolean!' })})`;
    };
    const first = one();
    return this.mistake(3) ? `${first} ${this.chance(0.5) ? first : one()}` : first;
  }

  /** Declares a variable and returns a reference to it. */
  variable(type) {
    const name = this.pick(['v', 'w', 'x', 'y']) + (this.mistake() ? '' : this.variables.size);
    const nonNull = type.endsWith('!');
    let declared = type;
    let initial;
    if (nonNull && this.chance(0.3)) {
      declared = type.slice(0, -1);
      initial = this.literal(this.parse(declared), 3);
    } else if (this.chance(0.2)) {
      initial = this.literal(this.parse(declared), 3);
    } else if (!nonNull && this.chance(0.2)) declared = `${type}!`;
    if (this.mistake()) declared = this.pick(['Int', 'String', '[ID!]!', 'User', 'Nothing', 'Boolean', `[${declared}]`]);
    if (this.mistake()) declared = this.altered(declared);
    if (!this.mistake()) this.variables.set(name, { type: declared, initial });
    return `$${name}`;
  }

  /** Changes whether a type or its items are lists or can be null. */
  altered(type) {
    const toggled = (text) => (text.endsWith('!') ? text.slice(0, -1) : `${text}!`);
    const item = /^\[(.*)\]!?$/.exec(type)?.[1];
    const others = [toggled(type), toggled(type), `[${type}]`, `[${toggled(type)}]!`];
    return this.pick(item === undefined ? others : [...others, item, `[${toggled(item)}]`, `[${toggled(item)}]!`]);
  }

  /** Parses the text of a type. */
  parse(text) {
    if (text.endsWith('!')) return { ...this.parse(text.slice(0, -1)), text, nonNull: true };
    if (text.startsWith('[')) return { text, list: this.parse(text.slice(1, -1)) };
    return { text, named: this.schema.getType(text) };
  }

  input(type, hasDefault = false) {
    const text = type.of ?? String(type);
    if (this.chance(0.3)) return this.variable(hasDefault && text.endsWith('!') && this.chance(0.5) ? text.slice(0, -1) : text);
    return this.literal(this.parse(text), 0);
  }

  literal(type, depth) {
    if (type === undefined || (type.named === undefined && !type.list)) return '1';
    if (this.mistake()) return this.pick(['1', '"a"', 'true', 'null', 'RED', '{}', '[]', '[1]', '{ a: 1 }', '1.5', '$undefined', '99999999999', '-0']);
    if (!type.nonNull && this.chance(0.08)) return 'null';
    if (type.list) {
      if (this.chance(0.15)) return this.literal(type.list, depth + 1);
      const length = Math.floor(this.next() * 3);
      return `[${Array.from({ length }, () => this.within(type.list, depth)).join(this.pick([', ', ' ']))}]`;
    }
    const { named } = type;
    if (isEnumType(named)) return this.pick(named.getValues()).name;
    if (isInputObjectType(named)) return this.object(named, depth, (of) => this.within(this.parse(of), depth));
    if (this.mistake() && named instanceof GraphQLScalarType) return this.pick(BAD_STRINGS);
    switch (named.name) {
      case 'Int':
        return this.pick(this.mistake(5) ? BAD_NUMBERS : ['0', '1', '-1', '-0', '50', '2147483647']);
      case 'Float':
        return this.pick(['0', '1.5', '-1e3', '1E-2', '1.5e+2']);
      case 'Boolean':
        return this.pick(['true', 'false']);
      case 'ID':
        return this.pick(this.mistake(3) ? BAD_NUMBERS : ['"a"', '1', '"""b"""', ...STRINGS]);
      case 'DateTime':
        return this.pick(this.mistake(5) ? DATES : DATES.slice(0, 3));
      default:
        return this.pick(STRINGS);
    }
  }

  /** Returns an item of a list or a field of an input object. Below a depth, it may be a variable. */
  within(type, depth) {
    return depth < 3 && this.chance(0.3) ? this.variable(type.text) : this.literal(type, depth + 1);
  }

  object(type, depth, value) {
    let fields = Object.values(type.getFields());
    if (type.isOneOf) {
      const chosen = [this.pick(fields)];
      if (this.mistake(5)) chosen.push(this.pick(fields));
      if (this.mistake(2)) chosen.length = 0;
      fields = chosen;
    } else {
      fields = fields.filter((field) => {
        const required = isNonNullType(field.type) && field.defaultValue === undefined;
        return required ? !this.mistake() : depth < 3 && this.chance(0.4);
      });
    }
    const members = fields.map((field) => {
      const of = type.isOneOf && !this.mistake() ? `${field.type}!` : String(field.type);
      return `${field.name}: ${value(of)}`;
    });
    if (this.mistake()) members.push('unknown: 1');
    if (this.mistake(0.5) && members.length > 0) members.push(members[0]);
    return `{ ${members.join(', ')} }`;
  }

  /** Returns values for the variables of the last operation, as the members of a JSON object. */
  values() {
    const values = {};
    for (const [name, { type, initial }] of this.variables) {
      const required = type.endsWith('!') && initial === undefined;
      if (required ? this.mistake() : this.chance(0.3)) continue;
      values[name] = this.value(this.parse(type), 0);
    }
    if (this.chance(0.05)) values.surplus = 1;
    return values;
  }

  value(type, depth) {
    if (type === undefined || (type.named === undefined && !type.list)) return 1;
    if (this.mistake(2)) return this.pick([1, 'a', true, null, {}, [], [1], { a: 1 }, 1.5, 3, 99999999999, 1e300, -0.0, [[null]]]);
    if (!type.nonNull && this.chance(0.08)) return null;
    if (type.list) {
      if (this.chance(0.15)) return this.value(type.list, depth + 1);
      return Array.from({ length: Math.floor(this.next() * 3) }, () => this.value(type.list, depth + 1));
    }
    const { named } = type;
    if (isEnumType(named)) return this.pick(named.getValues()).name;
    if (isInputObjectType(named)) {
      let fields = Object.values(named.getFields());
      if (named.isOneOf) fields = this.mistake(5) ? [this.pick(fields), this.pick(fields)] : [this.pick(fields)];
      const members = {};
      for (const field of fields) {
        const required = isNonNullType(field.type) && field.defaultValue === undefined;
        if (!named.isOneOf && (required ? this.mistake() : depth >= 3 || this.chance(0.6))) continue;
        members[field.name] = this.value(this.parse(`${field.type}${named.isOneOf ? '!' : ''}`), depth + 1);
      }
      if (this.mistake()) members.unknown = 1;
      return members;
    }
    switch (named.name) {
      case 'Int':
        return this.pick([0, 1, -1, 50, 2147483647, ...(this.mistake(5) ? [2147483648, 1.5, '1'] : [1.0])]);
      case 'Float':
        return this.pick([0, 1.5, -1000, 1e21]);
      case 'Boolean':
        return this.pick([true, false]);
      case 'ID':
        return this.pick(['a', 1, 'b', 9007199254740991, -5]);
      case 'DateTime':
        return JSON.parse(this.pick(this.mistake(5) ? DATES : DATES.slice(0, 2)));
      default:
        return this.pick(TYPES);
    }
  }
}
