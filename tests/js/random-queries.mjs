// Generates random queries and subscriptions for a server with real data. They have no mistakes, and their arguments are
// ids and words of the data. The same seed gives the same document for the same data.

import {
  astFromValue,
  getNullableType,
  isAbstractType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  print,
} from 'graphql';
import { Generator } from './random-documents.mjs';

/** Fields that need a LiveKit server. */
const OMITTED = new Set(['callAccess']);
/** Fields of a query that have many objects in them. */
const WITH_DATA = ['viewer', 'conversation', 'node', 'nodes', 'user', 'searchMessages'];
/** Maximum level of lists with a page of the default size, so that the cost of the documents is bounded. */
const MAX_WIDE = 2;
/** Maximum level of fragments in interfaces and unions. */
const MAX_NESTED = 7;
/** The events that the test causes. Fragments on other events would never apply. */
const EVENTS = new Set(['CaughtUp', 'MessageAdded', 'CallRinging', 'CallEnded', 'CallsCaughtUp', 'RoomSnapshot']);

export class Queries extends Generator {
  /**
   * `data` has the `ids` of nodes, `conversations`, `users`, `usernames`, the `code` of an invite, and `words` of
   * messages.
   */
  constructor(schema, seed, data) {
    super(schema, seed);
    this.data = data;
    this.mistakes = 0;
  }

  query() {
    return this.document('query', this.selections(this.schema.getQueryType(), 0));
  }

  /** Returns a subscription. Its root field may be in fragments, and two selections of the field may be merged. */
  subscription(name) {
    const field = this.schema.getSubscriptionType().getFields()[name];
    const args = this.args(field, 0);
    const [first, second] = [0, 1].map(() => `${name}${args} ${this.selections(getNullableType(field.type), 1)}`);
    const root = `fragment Root on Subscription { ${first} }`;
    const [set, ...fragments] = this.pick([
      [first],
      [`${first} ${second}`],
      [`... { ${first} } ... on Subscription { ${second} }`],
      [`...Root`, root],
      [`...Root ${second} ...Root`, root],
      [`... { ...Root } ${second}`, root],
    ]);
    return this.document('subscription', `{ ${set} }`, fragments);
  }

  document(kind, set, fragments = []) {
    const definitions = [...this.variables].map(
      ([name, { type, initial }]) => `$${name}: ${type}${initial === undefined ? '' : ` = ${initial}`}`,
    );
    const operation = `${kind}${definitions.length > 0 ? `(${definitions.join(', ')})` : ''} ${set}`;
    const query = [operation, ...fragments, ...this.fragments.map(({ text }) => text)].join('\n');
    const given = [...this.variables].filter(([, { value }]) => value !== undefined);
    return { query, variables: Object.fromEntries(given.map(([name, { value }]) => [name, value])) };
  }

  /** The documents have no descriptions. */
  description() {
    return '';
  }

  selection(type, depth) {
    if (!isAbstractType(type) || depth >= MAX_NESTED || this.chance(0.4)) return super.selection(type, depth);
    if (this.chance(0.4)) return `...${this.fragment(type, depth)} ${this.maybeDirectives()}`;
    const on = this.condition(type);
    return `... on ${on.name} ${this.maybeDirectives()}${this.selections(on, depth + 1)}`;
  }

  condition(type) {
    const on = super.condition(type);
    const isEvent = isObjectType(on) && on !== type && !on.getInterfaces().some(({ name }) => name === 'Node');
    return !isEvent || EVENTS.has(on.name) ? on : this.condition(type);
  }

  field(type, depth, field) {
    // The introspection has limits of its own.
    return super.field(type, depth, field?.name.startsWith('__') ? undefined : field);
  }

  anyField(type, depth) {
    const isQuery = type === this.schema.getQueryType();
    if (isQuery && this.chance(0.7)) return type.getFields()[this.pick(WITH_DATA)];
    const field = super.anyField(type, depth);
    return OMITTED.has(field.name) ? this.anyField(type, depth) : field;
  }

  args(owner, depth) {
    // A list that has both arguments accepts only one of them.
    const unused = owner.args.some(({ name }) => name === 'last') ? this.pick(['first', 'last']) : undefined;
    const args = owner.args.filter(({ name }) => name !== unused);
    const texts = args.map((arg) => [arg.name, this.arg(owner, arg, depth)]).filter(([, text]) => text !== undefined);
    return texts.length > 0 ? `(${texts.map((parts) => parts.join(': ')).join(this.pick([', ', ' ']))})` : '';
  }

  /** Returns the text of an argument: a literal or a variable, which may be given, omitted or null. */
  arg(owner, arg, depth) {
    const value = this.valueOf(owner.name, arg.name);
    const nullable = getNullableType(arg.type);
    const required = isNonNullType(arg.type) && arg.defaultValue === undefined;
    const isSize = ['first', 'last'].includes(arg.name);
    const forms = [
      () => this.text(value, arg.type),
      () => this.declared(arg.type, { value }),
      () => this.declared(`${nullable}!`, { value: value ?? undefined, initial: this.constant(value, nullable) }),
      () => this.declared(nullable, { initial: this.constant(value, nullable) }),
    ];
    if (!required && (!isSize || depth <= MAX_WIDE)) {
      forms.push(() => undefined, () => undefined, () => this.declared(nullable, {}));
      if (!isNonNullType(arg.type)) forms.push(() => 'null', () => this.declared(nullable, { value: null }));
    }
    // A variable must not be null where null is not allowed.
    const possible = value === null ? forms.filter((_, index) => index < 2 || index > 3) : forms;
    return this.pick(possible)();
  }

  /** Declares a variable and returns a reference to it. */
  declared(type, { value, initial }) {
    const name = `v${this.variables.size}`;
    this.variables.set(name, { type: String(type), value, initial });
    return `$${name}`;
  }

  constant(value, type) {
    return value === null ? 'null' : print(astFromValue(value, type));
  }

  /** Returns a literal, in which items of lists and fields of input objects may be variables. */
  text(value, type) {
    const nullable = getNullableType(type);
    const within = (inner, of) => (this.chance(0.3) ? this.declared(of, { value: inner }) : this.text(inner, of));
    if (isListType(nullable) && Array.isArray(value)) {
      return `[${value.map((item) => within(item, nullable.ofType)).join(', ')}]`;
    }
    if (!isInputObjectType(nullable) || value === null) return this.constant(value, nullable);
    const members = Object.entries(value).map(([name, member]) => {
      const { type: of } = nullable.getFields()[name];
      const variable = nullable.isOneOf && this.chance(0.3) ? this.declared(`${of}!`, { value: member }) : undefined;
      return `${name}: ${variable ?? (nullable.isOneOf ? this.text(member, of) : within(member, of))}`;
    });
    return `{ ${members.join(', ')} }`;
  }

  maybeDirectives() {
    return this.chance(0.15) ? `${this.directives()} ` : '';
  }

  directives() {
    const name = this.pick(['skip', 'include']);
    const value = this.chance(name === 'include' ? 0.7 : 0.3);
    const condition = this.pick([
      () => value,
      () => this.declared('Boolean!', { value }),
      () => this.declared('Boolean', { initial: value }),
      () => this.declared('Boolean', { initial: !value, value }),
    ])();
    return `@${name}(if: ${condition})`;
  }

  /** Returns a value of an argument. */
  valueOf(field, argument) {
    const { data } = this;
    switch (argument) {
      case 'id':
        return this.pick(field === 'conversation' ? data.conversations : data.ids);
      case 'ids':
        return Array.from({ length: Math.floor(this.next() * 4) }, () => this.pick(data.ids));
      case 'conversationId':
        return this.pick(data.conversations);
      case 'senderId':
        return this.pick(data.users);
      case 'by':
        return this.pick([{ id: this.pick(data.users) }, { username: this.pick(data.usernames) }]);
      case 'code':
        return data.code;
      case 'query':
        return this.pick(field === 'searchUsers' ? data.usernames : data.words);
      case 'first':
      case 'last':
        return 1 + Math.floor(this.next() * 3);
      case 'direction':
        return this.pick(['INCOMING', 'OUTGOING']);
      case 'size':
        return this.pick(['SMALL', 'LARGE']);
      case 'filter':
        return this.pick([{}, { kind: 'DIRECT' }, { archived: null, unreadOnly: false }, { titleContains: 'Group' }]);
      // The cursor of an item depends on the list.
      case 'after':
      case 'before':
        return null;
      default:
        throw new Error(`no value for the argument ${argument} of ${field}`);
    }
  }
}
