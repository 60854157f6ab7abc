/** The tabs of a first visit, in order. Each file is one operation; its name is the tab's title. */

import welcome from './examples/1-welcome.graphql';
import artistDashboard from './examples/2-artist-dashboard.graphql';
import ranking from './examples/3-ranking.graphql';
import sendEvents from './examples/4-send-events.graphql';
import liveCounter from './examples/5-live-counter.graphql';
import liveRanking from './examples/6-live-ranking.graphql';

export const exampleTabs = [
  welcome,
  artistDashboard,
  ranking,
  sendEvents,
  liveCounter,
  liveRanking,
].map((query) => ({ query }));
