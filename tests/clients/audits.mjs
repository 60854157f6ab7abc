/**
 * Runs every audit of `graphql-http` against a running server and prints each that does not hold.
 *
 *     node audits.mjs <graphql-url>
 *
 * Exit code 0: all are ok, also those that the suite would let pass with a warning or a notice.
 * 1: some are not. 2: wrong arguments.
 */

import { serverAudits } from 'graphql-http';

const [, , url] = process.argv;
if (!url) {
  console.error('usage: node audits.mjs <graphql-url>');
  process.exit(2);
}

const audits = serverAudits({ url, fetchFn: fetch });
let passed = 0;
for (const audit of audits) {
  const result = await audit.fn();
  if (result.status === 'ok') {
    passed += 1;
    continue;
  }
  const answer = result.response ? `, answered ${result.response.status}` : '';
  console.error(`${result.status}: ${audit.id} ${audit.name}: ${result.reason}${answer}`);
}

console.log(`${passed} of ${audits.length} audits are ok`);
process.exit(audits.length > 0 && passed === audits.length ? 0 : 1);
