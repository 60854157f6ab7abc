/** The tabs of a first visit, in order. Each file is one operation; its name is the tab's title. */

import welcome from './examples/1-welcome.graphql';
import artistDashboard from './examples/2-artist-dashboard.graphql';
import ranking from './examples/3-ranking.graphql';
import sendEvents from './examples/4-send-events.graphql';
import liveCounter from './examples/5-live-counter.graphql';
import liveRanking from './examples/6-live-ranking.graphql';
import audienceAndMarkets from './examples/7-audience-and-markets.graphql';
import charts from './examples/8-charts.graphql';
import liveRealtime from './examples/9-live-realtime.graphql';
import catalogue from './examples/10-catalogue.graphql';
import definitions from './examples/11-definitions.graphql';
import trending from './examples/12-trending.graphql';
import platform from './examples/13-platform.graphql';
import events from './examples/14-events.graphql';
import liveEvents from './examples/15-live-events.graphql';
import dashboard from './examples/16-dashboard.graphql';
import funnel from './examples/17-funnel.graphql';
import explore from './examples/18-explore.graphql';
import listener from './examples/19-listener.graphql';

export const exampleTabs = [
  welcome,
  artistDashboard,
  ranking,
  sendEvents,
  liveCounter,
  liveRanking,
  audienceAndMarkets,
  charts,
  liveRealtime,
  catalogue,
  definitions,
  trending,
  platform,
  events,
  liveEvents,
  dashboard,
  funnel,
  explore,
  listener,
].map((query) => ({ query }));
