/**
 * Writes dist/: the GraphiQL page, ready to be served from any path, without
 * the internet. The same sources and lock file always give the same bytes.
 */

import { cp, mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

const ROOT = path.dirname(fileURLToPath(import.meta.url));
const DIST = path.join(ROOT, 'dist');

/** The whole page, compressed, that a first visit may cost. */
const GZIP_BYTES_MAX = 700 * 1000;

await rm(DIST, { recursive: true, force: true });
await mkdir(DIST);

const { metafile } = await build({
  absWorkingDir: ROOT,
  entryPoints: { graphiql: 'src/main.jsx' },
  outdir: 'dist',
  bundle: true,
  minify: true,
  metafile: true,
  format: 'iife',
  // What page.css needs: light-dark() and :has().
  target: ['es2022', 'chrome123', 'firefox121', 'safari17.5'],
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"' },
  loader: { '.graphql': 'text' },
  alias: { 'react-style-singleton': './src/style-singleton.js' },
  plugins: [withoutDataUrls(), withOwnMarkdown()],
  // Their notices are gathered in one file instead, with those of the packages
  // that have no comment to keep.
  legalComments: 'none',
});

await cp(path.join(ROOT, 'src/index.html'), path.join(DIST, 'index.html'));
await cp(path.join(ROOT, 'src/favicon.svg'), path.join(DIST, 'favicon.svg'));
await writeFile(path.join(DIST, 'THIRD-PARTY-LICENSES.txt'), await collectLicenses(metafile));
await report();

/**
 * Drops every data URL of GraphiQL's style sheet: two font families, which weigh
 * as much as the code and which system fonts replace, and three decorative
 * icons, which alone would force `data:` into the content security policy.
 */
function withoutDataUrls() {
  return {
    name: 'without-data-urls',
    setup({ onLoad }) {
      onLoad({ filter: /[\\/]graphiql[\\/]dist[\\/]style\.css$/ }, async ({ path: file }) => {
        const contents = (await readFile(file, 'utf8'))
          .replace(/@font-face\s*\{[^}]*\}/g, '')
          .replace(/background-image:\s*url\(["']?data:[^)]*\);?/g, '');
        if (/url\(["']?data:/.test(contents)) throw new Error(`a data URL is left in ${file}`);
        return { contents, loader: 'css' };
      });
    },
  };
}

/** Puts src/markdown.js, which says why, in the place of GraphiQL's module. */
function withOwnMarkdown() {
  return {
    name: 'with-own-markdown',
    setup({ onLoad }) {
      onLoad({ filter: /[\\/]@graphiql[\\/]react[\\/]dist[\\/]markdown\.js$/ }, async () => ({
        contents: await readFile(path.join(ROOT, 'src/markdown.js'), 'utf8'),
        resolveDir: path.join(ROOT, 'src'),
      }));
    },
  };
}

/** The licence and notice of every package that has code in the bundle, by name. */
async function collectLicenses({ inputs }) {
  const folders = new Set();
  for (const input of Object.keys(inputs)) {
    const folder = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0];
    if (folder) folders.add(folder);
  }

  const notices = [];
  for (const folder of [...folders].sort()) {
    const manifest = JSON.parse(await readFile(path.join(ROOT, folder, 'package.json'), 'utf8'));
    const { name, version, license } = manifest;
    const files = (await readdir(path.join(ROOT, folder))).sort();
    const texts = [`${name} ${version} (${license})`];
    for (const file of files.filter((it) => /^(licen[sc]e|notice)/i.test(it))) {
      const text = await readFile(path.join(ROOT, folder, file), 'utf8');
      texts.push(text.replaceAll('\r\n', '\n').trim());
    }
    notices.push(`${texts.join('\n\n')}\n`);
  }
  const rule = `\n${'-'.repeat(72)}\n\n`;
  return `graphiql.js and graphiql.css contain these packages.\n${rule}${notices.join(rule)}`;
}

async function report() {
  let gzipBytes = 0;
  for (const file of (await readdir(DIST)).sort()) {
    const { size } = await stat(path.join(DIST, file));
    const gzipSize = gzipSync(await readFile(path.join(DIST, file)), { level: 9 }).length;
    console.log(`${file.padEnd(28)}${String(size).padStart(9)}${String(gzipSize).padStart(9)} gzip`);
    gzipBytes += gzipSize;
  }
  if (gzipBytes > GZIP_BYTES_MAX) {
    throw new Error(`dist is ${gzipBytes} bytes compressed, the limit is ${GZIP_BYTES_MAX}`);
  }
}
