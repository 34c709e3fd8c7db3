// One case, or one record that made none, explained: registers, finding, impact, decision, steps, outcome; with the
// suspects, and who is concerned.

import { api } from '../api.js';
import { h } from '../dom.js';
import { approval, caseLink, grade, head, part, rowName, severity, tag } from '../pieces.js';
import { changed, store } from '../store.js';
import { absolute, moment } from '../time.js';
import { CHAIN, plural, stageOfLink } from '../words.js';

const REASONS_OPEN = 6; // more than these are behind a summary
const AT_ONCE_MS = 1_000; // evidence that is this much younger than a first step is what made it

const view = { path: null, chain: null, refused: null, mark: null };

export const title = (path) => path.replace('/', ' ');

/** `path` is "case/12" or "event/7"; both are made one: a chain with its suspects and what its bits mean. */
async function load(path) {
  const [what, number] = path.split('/');
  const mark = store.events.find((event) => String(event.case) === number)?.number ?? 0; // grows when there is more to say
  if (view.path === path && view.mark === mark) return;
  if (view.path !== path) Object.assign(view, { chain: null, refused: null });
  Object.assign(view, { path, mark });
  try {
    const chain = what === 'case' ? await api.explainCase(number) : ofEvent(await api.explainEvent(number));
    if (view.path === path) Object.assign(view, { chain, refused: null });
  } catch (error) {
    if (view.path === path) view.refused = error;
  }
  changed();
}

const rank = (link) => CHAIN.findIndex(([stage]) => stage === stageOfLink(link.what));

function ofEvent(found) {
  const { event } = found;
  const own = event
    ? [{ at_ms: event.at_ms, what: event.what, row: event.row, text: event.text, details: event.details }]
    : [];
  const unread = found.unread
    ? [
        {
          at_ms: event?.at_ms ?? 0,
          what: 'unread',
          row: '',
          text: `it cannot be read: ${found.unread.why}`,
          details: [],
        },
      ]
    : [];
  return {
    case: null,
    number: found.number,
    belongs: event?.case ?? null,
    open: false,
    title: event?.text ?? `event ${found.number}, ${found.kind}`,
    links: found.links.length ? [...found.links].sort((a, b) => rank(a) - rank(b)) : [...own, ...unread],
    outcome: [],
    suspects: [],
    evidence: found.finding ? [found.finding] : [],
    epoch_wall_ms: event?.wall_ms != null ? event.wall_ms - event.at_ms : null,
    whole: true,
  };
}

export function render(number, what = 'case') {
  load(`${what}/${number}`);
  const line = what === 'case' ? store.cases.find((each) => String(each.case) === number) : undefined;
  if (view.refused)
    return [
      head(`${what === 'case' ? 'Case' : 'Event'} ${number}`),
      h('p', `${view.refused.detail} ${view.refused.advice}`),
      h('p', h('a', { href: '#/cases' }, 'All cases')),
    ];
  const { chain } = view;
  if (!chain) return [head(`${what === 'case' ? 'Case' : 'Event'} ${number}`), h('p.muted', 'Asking the service …')];
  const waiting = what === 'case' ? store.approvals.filter((each) => String(each.case) === number) : [];
  const first = chain.epoch_wall_ms !== null && chain.links.length ? chain.epoch_wall_ms + chain.links[0].at_ms : null;
  return [
    h('p.small', what === 'case' ? h('a', { href: '#/cases' }, '← cases') : h('a', { href: '#/events' }, '← events')),
    head(
      chain.title,
      null,
      what === 'case'
        ? chain.open
          ? tag({ tone: 'work', label: 'open', meaning: 'It has no outcome yet' })
          : tag({ tone: 'calm', label: 'closed', meaning: 'It has its outcome' })
        : null,
    ),
    h(
      'div.grid.wide',
      h(
        'section.card',
        { 'aria-label': 'Explained step by step' },
        h('h2', 'Step by step'),
        steps(chain),
        chain.whole
          ? null
          : h('p.muted', `It is longer than one request looks at: ringfence explain ${number} has all of it.`),
      ),
      h(
        'div.stack.beside',
        waiting.length
          ? h('section.card', { 'data-key': 'waits' }, h('h2', 'Waits for you'), h('ul.items', waiting.map(approval)))
          : null,
        what === 'case' ? h('section.card', { 'data-key': 'outcome' }, h('h2', 'Outcome'), outcome(chain, line)) : null,
        suspects(chain),
        advice(chain),
        h(
          'section.card',
          { 'data-key': 'facts' },
          h('h2', 'Facts'),
          h(
            'dl.facts',
            h('dt', 'number'),
            h('dd.mono', number),
            chain.belongs !== null && chain.belongs !== undefined
              ? [h('dt', 'case'), h('dd', caseLink(chain.belongs))]
              : null,
            line?.severity
              ? [h('dt', 'class'), h('dd', severity(line.severity))]
              : chain.evidence.length
                ? [h('dt', 'class'), h('dd', severity(chain.evidence[0].severity))]
                : null,
            first !== null ? [h('dt', 'began'), h('dd', moment(first))] : null,
            chain.links.length > 1
              ? [
                  h('dt', 'took'),
                  h('dd', { title: 'From the first to the last that the journal says of it' }, span(chain)),
                ]
              : null,
            line?.pages ? [h('dt', 'pages'), h('dd', plural(line.pages, 'page'))] : null,
            line?.superseded_by ? [h('dt', 'taken over'), h('dd', 'by ', caseLink(line.superseded_by))] : null,
            chain.followed_by?.length
              ? [
                  h('dt', 'followed by'),
                  h(
                    'dd',
                    chain.followed_by.map((each) => [caseLink(each), ' ']),
                  ),
                ]
              : null,
            places(chain),
            h('dt', 'on the host'),
            h('dd', h('code', `ringfence explain ${number}`)),
          ),
        ),
      ),
    ),
  ];
}

/** What a person can do about the finding, in the decoder's words. */
function advice(chain) {
  const said = [...new Set(chain.evidence.map((each) => each.advice).filter(Boolean))];
  return said.length
    ? h(
        'section.card',
        { 'data-key': 'advice' },
        h('h2', 'Advice'),
        said.map((each) => h('p', each)),
      )
    : null;
}

/** Where in the machine, of the first piece of evidence that names a place. */
function places(chain) {
  const found = chain.evidence.map((each) => each.location).find((each) => each && Object.keys(each).length);
  return found
    ? Object.entries(found).map(([name, value]) => [h('dt', name.replaceAll('_', ' ')), h('dd.mono', String(value))])
    : null;
}

const span = (chain) => {
  const [first, last] = [chain.links[0], chain.links[chain.links.length - 1]];
  const ms = last ? last.at_ms - first.at_ms : 0;
  return ms < 10_000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
};

function outcome(chain, line) {
  if (line?.parts.length) {
    return h(
      'ul.items',
      line.parts.map((each) =>
        h('li', { 'data-key': each.whom }, part(each), each.because ? h('div.small.muted', each.because) : null),
      ),
    );
  }
  if (!chain.outcome.length) return h('p.empty', 'None yet.');
  return h(
    'ul.items',
    chain.outcome.map((sentence) => h('li', sentence)),
  );
}

/** What the journal leaves out of a suspect is nothing: no word for it or against it. */
function suspects(chain) {
  const found = chain.suspects ?? [];
  if (!found.length) return null;
  return h(
    'section.card',
    { 'data-key': 'suspects' },
    h('h2', 'Suspects'),
    h(
      'ol.items',
      found.map((each) =>
        h(
          'li',
          { 'data-key': `${each.suspect} ${each.name}` },
          h(
            'div.line',
            h('b', each.name.startsWith(`${each.suspect} `) ? each.name : `${each.suspect} ${each.name}`),
            grade(each.grade),
          ),
          h(
            'div.small.muted',
            { title: 'Errors and places that this suspect accounts for, and how many different syndromes they had' },
            `${plural(each.errors, 'error')} in ${plural(each.places, 'place')}, ${plural(each.distinct ?? 0, 'syndrome')}`,
          ),
          h(
            'ul.small',
            (each.speaks_for ?? []).map((sentence) => h('li', `+ ${sentence}`)),
            (each.speaks_against ?? []).map((sentence) => h('li', `− ${sentence}`)),
          ),
        ),
      ),
    ),
  );
}

function steps(chain) {
  const begin = chain.links[0]?.at_ms ?? 0;
  const groups = [];
  for (const [at, link] of inOrderOfCause([...chain.links.entries()])) {
    const stage = stageOfLink(link.what);
    if (groups.at(-1)?.stage !== stage) groups.push({ stage, links: [] });
    groups.at(-1).links.push([at, link]);
  }
  return h(
    'div.chain',
    groups.map(({ stage, links }, at) =>
      h(
        'section.stage',
        { 'data-key': `${at} ${stage}` },
        h('header', h('h3', { title: CHAIN.find(([name]) => name === stage)[1] }, stage)),
        h(
          'ol',
          links.map(([number, link]) => step(link, number, begin, chain.epoch_wall_ms ?? null)),
        ),
      ),
    ),
  );
}

/** What the sentences below a link are, where they are no reasons. */
const NOUNS = {
  outcome: ['entry', 'entries'],
  trend: ['suspect'],
  result: ['thing that it could not do', 'things that it could not do'],
};

const FIRST = ['evidence', 'finding', 'impact'];

/**
 * What a hypervisor did at once is journaled before anybody has heard why: the evidence, what it means and what was
 * decided stand before it all the same. The times stay as the journal has them.
 */
function inOrderOfCause(links) {
  const until = links.findIndex(([, link]) => link.what === 'step' || link.what === 'order');
  const seat = links.findIndex(([, link]) => link.what === 'decision' && link.text.includes('seat'));
  const ahead = ([at, link]) =>
    at > until &&
    until >= 0 &&
    link.at_ms - links[0][1].at_ms <= AT_ONCE_MS &&
    (FIRST.includes(link.what) || links.findIndex(([other]) => other === at) === seat);
  const moved = links.filter(ahead);
  return moved.length
    ? [...links.slice(0, until), ...moved, ...links.slice(until).filter((each) => !ahead(each))]
    : links;
}

function step(link, number, begin, epoch) {
  const reasons = counted(link.details);
  const raw = link.what === 'evidence' && reasons.length === 1 ? registers(reasons[0][0]) : null;
  return h(
    'li.step',
    { 'data-key': number, 'data-item': true, tabindex: '0' },
    h(
      'div.line',
      h(
        'span.num',
        { title: `${epoch !== null ? `${absolute(epoch + link.at_ms, { milli: true })} UTC; ` : ''}after the first` },
        `+${link.at_ms - begin} ms`,
      ),
      h('span.say', link.text),
      rowName(link.row),
    ),
    raw
      ? h('details', { open: true }, h('summary', 'registers'), raw)
      : reasons.length
        ? h(
            'details',
            { open: reasons.length <= REASONS_OPEN },
            h('summary', plural(reasons.length, ...(NOUNS[link.what] ?? ['reason']))),
            h(
              'ul',
              reasons.map(([sentence, times]) => reason(sentence, times)),
            ),
          )
        : null,
  );
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
  return h(
    'li',
    { class: said.startsWith('against: ') ? 'against' : '' },
    row ? [rowName(row[1]), ' ', row[2]] : said,
    times > 1 ? h('span.muted', ` (${times} times)`) : null,
    cite ? h('span.cite', ` [${cite}]`) : null,
  );
}

/** "status 0x9c…, addr 0x…" as a table of registers; anything else as it is. */
function registers(text) {
  const pairs = text.split(', ').map((each) => /^([a-z_0-9]+) (0x[0-9a-f]+)$/.exec(each));
  if (!pairs.length || pairs.includes(null)) return h('p.mono', text);
  return h(
    'dl.registers',
    pairs.map(([, name, value]) => h('div', h('dt', name), h('dd', value))),
  );
}

export function back() {
  location.hash = view.path.startsWith('event') ? '#/events' : '#/cases';
  return true;
}
