// Headers that a tab sets are its connection's parameters, too: a token in them signs subscriptions in.
GraphQLPlayground.init(document.getElementById('root'), {
  endpoint: '/graphql',
  subscriptionEndpoint: `${location.origin.replace(/^http/, 'ws')}/graphql`,
  settings: { 'schema.polling.enable': false, 'request.credentials': 'omit' },
});
