// Playground sends the headers of a tab also in connection_init, so an Authorization header signs in subscriptions.
const endpoint = `${location.origin}/graphql`;
// Playground replaces all tabs with those that it gets, so a browser gets the tour only on its first visit.
const isFirstVisit = localStorage.getItem('graphql-playground') === null;

GraphQLPlayground.init(document.getElementById('root'), {
  endpoint,
  subscriptionEndpoint: endpoint.replace(/^http/, 'ws'),
  settings: { 'schema.polling.enable': false, 'request.credentials': 'omit' },
  tabs: isFirstVisit ? TOUR.map(({ name, query }) => ({ name, query, endpoint })) : undefined,
});
