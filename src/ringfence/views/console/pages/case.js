// One case, or one record that made none, explained: registers, finding, impact, decision, steps, outcome; with the
// suspects, and who is concerned.

import { api } from '../api.js';
import { h } from '../dom.js';
import { caseLink, head, part, rowName, severity, tag } from '../pieces.js';
import { changed, store } from '../store.js';
import { absolute, moment } from '../time.js';
import { CHAIN, gradeOf, plural, stageOfLink } from '../words.js';

const REASONS_OPEN = 6; // more than these are behind a summary

const view = { number: null, chain: null, refused: null, asked: 0, mark: null };

export const title = (number) => `Case ${number}`;

async function load(number) {
  const mark = markOf(number);
  if (view.number === number && view.mark === mark) return;
  if (view.number !== number) Object.assign(view, { chain: null, refused: null });
  Object.assign(view, { number, mark });
  try {
    const chain = await api.explain(number);
    if (view.number === number) Object.assign(view, { chain, refused: null });
  } catch (error) {
    if (view.number === number) view.refused = error;
  }
  changed();
}

/** What tells that there is more to be said about a case: its newest event. */
const markOf = (number) => store.events.find((event) => String(event.case) === number)?.number ?? 0;

export function render(number) {
  load(number);
  const line = store.cases.find((each) => String(each.case) === number);
  if (view.refused) return [head(`Case ${number}`), h('p', `${view.refused.detail} ${view.refused.advice}`), h('p', h('a', { href: '#/cases' }, 'All cases'))];
  const { chain } = view;
  if (!chain) return [head(`Case ${number}`), h('p.muted', 'Asking the service …')];
  const first = chain.links[0]?.wall_ms ?? null;
  return [
    h('p.small', h('a', { href: '#/cases' }, '← cases')),
    head(chain.title, null, line?.open ? tag({ tone: 'work', label: 'open', meaning: 'It has no outcome yet' }) : tag({ tone: 'calm', label: 'closed', meaning: 'It has its outcome' })),
    h('div.grid.wide', { class: 'stack-narrow' },
      h('section.card', { 'aria-label': 'Explained step by step' }, h('h2', 'Step by step'), steps(chain)),
      h('div.stack',
        h('section.card', h('h2', 'Outcome'), outcome(chain, line)),
        suspects(chain),
        h('section.card', h('h2', 'Facts'), h('dl.facts',
          h('dt', 'number'), h('dd.mono', String(chain.case)),
          line?.severity ? [h('dt', 'class'), h('dd', severity(line.severity))] : null,
          first !== null ? [h('dt', 'began'), h('dd', moment(first))] : null,
          h('dt', 'took'), h('dd', { title: 'From the first to the last that the journal says of it' }, span(chain)),
          line?.pages ? [h('dt', 'pages'), h('dd', plural(line.pages, 'page'))] : null,
          line?.superseded_by ? [h('dt', 'taken over'), h('dd', 'by ', caseLink(line.superseded_by))] : null,
          h('dt', 'on the host'), h('dd', h('code', `ringfence explain ${chain.case}`)))))),
  ];
}

const span = (chain) => {
  const [first, last] = [chain.links[0], chain.links[chain.links.length - 1]];
  const ms = last ? last.at_ms - first.at_ms : 0;
  return ms < 10_000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
};

function outcome(chain, line) {
  if (line?.parts.length) {
    return h('ul.items', line.parts.map((each) => h('li', { 'data-key': each.whom }, part(each), each.because ? h('div.small.muted', each.because) : null)));
  }
  if (!chain.outcome.length) return h('p.empty', 'None yet.');
  return h('ul.items', chain.outcome.map((sentence) => h('li', sentence)));
}

function suspects(chain) {
  const found = chain.suspects ?? [];
  if (!found.length) return null;
  return h('section.card', { 'data-key': 'suspects' }, h('h2', 'Suspects'),
    h('ol.items', found.map((each) => h('li', { 'data-key': `${each.suspect} ${each.name}` },
      h('div.line', h('b', each.name.startsWith(`${each.suspect} `) ? each.name : `${each.suspect} ${each.name}`), tag(gradeOf(each.grade))),
      h('div.small.muted', { title: 'Errors and places that this suspect accounts for, and how many different syndromes they had' },
        `${plural(each.errors, 'error')} in ${plural(each.places, 'place')}, ${plural(each.distinct, 'syndrome')}`),
      h('ul.small', each.speaks_for.map((sentence) => h('li', `+ ${sentence}`)), each.speaks_against.map((sentence) => h('li', `− ${sentence}`)))))));
}

function steps(chain) {
  const begin = chain.links[0]?.at_ms ?? 0;
  const groups = [];
  for (const [at, link] of chain.links.entries()) {
    const stage = stageOfLink(link.what);
    if (groups.at(-1)?.stage !== stage) groups.push({ stage, links: [] });
    groups.at(-1).links.push([at, link]);
  }
  return h('div.chain', groups.map(({ stage, links }, at) => h('section.stage', { 'data-key': `${at} ${stage}` },
    h('header', h('h3', { title: CHAIN.find(([name]) => name === stage)[1] }, stage)),
    h('ol', links.map(([number, link]) => step(link, number, begin))))));
}

function step(link, number, begin) {
  const reasons = counted(link.details);
  const raw = link.what === 'evidence' && reasons.length === 1 ? registers(reasons[0][0]) : null;
  return h('li.step', { 'data-key': number, 'data-item': true, tabindex: '0' },
    h('div.line',
      h('span.num', { title: `${link.wall_ms != null ? `${absolute(link.wall_ms, { milli: true })} UTC; ` : ''}after the first` }, `+${link.at_ms - begin} ms`),
      h('span.say', link.text), rowName(link.row)),
    raw ? h('details', { open: true }, h('summary', 'registers'), raw)
      : reasons.length ? h('details', { open: reasons.length <= REASONS_OPEN }, h('summary', plural(reasons.length, 'reason')),
        h('ul', reasons.map(([sentence, times]) => reason(sentence, times)))) : null);
}

/** Equal sentences once, with how often they stand there (several domains may have the same sum). */
function counted(details) {
  const found = new Map();
  for (const sentence of details) found.set(sentence, (found.get(sentence) ?? 0) + 1);
  return [...found];
}

function reason(sentence, times) {
  const cited = /^(.*) \[([^\]]+)\]$/s.exec(sentence);
  const [said, cite] = cited ? [cited[1], cited[2]] : [sentence, ''];
  const row = /^((?:I|II|B)\.[0-9][0-9a-z-]*): (.*)$/s.exec(said);
  return h('li', { class: said.startsWith('against: ') ? 'against' : '' },
    row ? [rowName(row[1]), ' ', row[2]] : said, times > 1 ? h('span.muted', ` (${times} times)`) : null,
    cite ? h('span.cite', ` [${cite}]`) : null);
}

/** "status 0x9c…, addr 0x…" as a table of registers; anything else as it is. */
function registers(text) {
  const pairs = text.split(', ').map((each) => /^([a-z_0-9]+) (0x[0-9a-f]+)$/.exec(each));
  if (!pairs.length || pairs.includes(null)) return h('p.mono', text);
  return h('dl.registers', pairs.map(([, name, value]) => h('div', h('dt', name), h('dd', value))));
}

export function back() {
  location.hash = '#/cases';
  return true;
}
