/** The tabs of a first visit, in order: at one glance, of artists and listeners, of the platform, live, and sending. Each file
    is one operation; its name is the tab's title. */

import welcome from './examples/welcome.graphql';
import dashboard from './examples/dashboard.graphql';
import artistDashboard from './examples/artist-dashboard.graphql';
import audienceAndMarkets from './examples/audience-and-markets.graphql';
import listener from './examples/listener.graphql';
import recommendations from './examples/recommendations.graphql';
import ranking from './examples/ranking.graphql';
import charts from './examples/charts.graphql';
import trending from './examples/trending.graphql';
import platform from './examples/platform.graphql';
import funnel from './examples/funnel.graphql';
import explore from './examples/explore.graphql';
import events from './examples/events.graphql';
import liveCounter from './examples/live-counter.graphql';
import liveRanking from './examples/live-ranking.graphql';
import liveRealtime from './examples/live-realtime.graphql';
import liveEvents from './examples/live-events.graphql';
import sendEvents from './examples/send-events.graphql';
import catalogue from './examples/catalogue.graphql';
import definitions from './examples/definitions.graphql';

export const exampleTabs = [
  welcome,
  dashboard,
  artistDashboard,
  audienceAndMarkets,
  listener,
  recommendations,
  ranking,
  charts,
  trending,
  platform,
  funnel,
  explore,
  events,
  liveCounter,
  liveRanking,
  liveRealtime,
  liveEvents,
  sendEvents,
  catalogue,
  definitions,
].map((query) => ({ query }));
