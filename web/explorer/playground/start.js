// Playground sends the headers of a tab also in connection_init, so an Authorization header signs in subscriptions.
GraphQLPlayground.init(document.getElementById('root'), {
  endpoint: '/graphql',
  subscriptionEndpoint: `${location.origin.replace(/^http/, 'ws')}/graphql`,
  settings: { 'schema.polling.enable': false, 'request.credentials': 'omit' },
});
