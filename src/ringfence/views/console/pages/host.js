// The host: its picture, the module that was chosen, what is held against its parts, and pages in trouble.

import { h } from '../dom.js';
import { isJudged, picture, ranksOf } from '../picture.js';
import { caseLink, grade, head, tag } from '../pieces.js';
import { store } from '../store.js';
import { ago } from '../time.js';
import { partStateOf, plural, stageOf } from '../words.js';

export const title = () => 'Host';

const view = { chosen: null };
const PAGES_SHOWN = 100;
const PARTS_SHOWN = 50;

export function render() {
  const { host, status } = store;
  return [
    head('Host', `${status.hypervisor}; Dom0 is ${status.dom0}${status.halted ? '; HALTED' : ''}`),
    h('section.card', { 'aria-label': 'The host as a picture' }, picture({ chosen: view.chosen })),
    view.chosen ? module_detail(view.chosen) : null,
    h(
      'div.grid.two.below',
      { 'data-key': 'trouble' },
      h(
        'section.card',
        { 'aria-labelledby': 'judged' },
        h('h2', { id: 'judged' }, 'Parts that something is held against'),
        store.parts.length ? parts(store.parts) : h('p.empty', 'None: nothing is held against any part.'),
      ),
      h('section.card', { 'aria-labelledby': 'pages' }, h('h2', { id: 'pages' }, 'Pages in trouble'), pages(host)),
    ),
    status.lacks.length
      ? h(
          'section.card.below',
          h('h2', 'What this backend cannot do'),
          h('p.small', status.lacks.map((name) => name.toLowerCase().replaceAll('_', ' ')).join(', ')),
        )
      : null,
  ];
}

function module_detail(name) {
  const found = store.host.dimms.find((dimm) => dimm.name === name);
  if (!found) return null;
  const ranks = ranksOf(found);
  const bad = store.host.pages.filter((page) => page.dimm === name);
  return h(
    'section.card.below',
    { 'data-key': 'module', 'aria-label': `The module ${name}` },
    h(
      'h2',
      name,
      h('button.icon', { type: 'button', 'data-do': 'unchoose', 'aria-label': 'Close', title: 'Close (Esc)' }, '✕'),
    ),
    h(
      'dl.facts',
      h('dt', 'corrected errors'),
      h(
        'dd',
        `${found.errors_day.toLocaleString('en')} in the last 24 hours, ${found.errors.toLocaleString('en')} remembered`,
        found.last_wall_ms != null ? [', the newest ', ago(found.last_wall_ms)] : null,
        found.first_wall_ms != null ? [', the first ', ago(found.first_wall_ms)] : null,
      ),
      h('dt', 'ranks'),
      h(
        'dd',
        ranks.length
          ? ranks.map((rank) =>
              h(
                'div',
                {
                  title: 'Distinct syndromes of one rank predict an uncorrected error; the count alone does not (B.8)',
                },
                `${rank.name.replace(`${name} `, '')}: ${plural(rank.errors, 'error')}, ${plural(rank.distinct, 'distinct syndrome')} `,
                isJudged(rank) ? tag(stageOf(rank.stage)) : null,
              ),
            )
          : '—',
      ),
      h('dt', 'pages'),
      h(
        'dd',
        bad.length ? bad.slice(0, 8).map((page) => [h('code', hex(page.frame)), ' ']) : 'none in trouble',
        bad.length > 8 ? `and ${bad.length - 8} more` : '',
      ),
      isJudged(found)
        ? [
            h('dt', 'judged'),
            h(
              'dd',
              tag(stageOf(found.stage)),
              found.because.length
                ? h(
                    'ul.small.reasons',
                    found.because.map((each) => h('li', each)),
                  )
                : null,
            ),
          ]
        : null,
    ),
  );
}

const hex = (frame) => `0x${BigInt(frame).toString(16)}`;

/** What is held against each part, the worst first; a threshold as how far it is filled. */
function parts(list) {
  return [
    h(
      'ul.items',
      list.slice(0, PARTS_SHOWN).map((each) =>
        h(
          'li',
          { 'data-key': each.part, 'data-item': true, tabindex: '0' },
          h(
            'div.line',
            h('b', each.part),
            tag(partStateOf(each.state)),
            each.grade ? grade(each.grade) : null,
            each.case != null ? caseLink(each.case) : null,
            each.last_wall_ms != null ? h('span.small', ago(each.last_wall_ms)) : null,
          ),
          each.engine ? meter(each.engine) : null,
          h(
            'ul.small.reasons',
            each.speaks_for.map((sentence) => h('li', sentence)),
            each.speaks_against.map((sentence) => h('li.against', `against: ${sentence}`)),
          ),
          each.serial ? h('p.small.muted', `serial number ${each.serial}`) : null,
          each.state === 'faulty' && each.suspect !== 'page'
            ? h('p.small.muted', 'Replace it, then: ', h('code', `ringfence repaired '${each.part}' --replaced`))
            : null,
        ),
      ),
    ),
    list.length + store.partsBeyond > PARTS_SHOWN
      ? h(
          'p.small.muted',
          `and ${(list.length + store.partsBeyond - PARTS_SHOWN).toLocaleString('en')} more: ringfence parts`,
        )
      : null,
  ];
}

function meter({ level, limit, window_s: window, distinct, source }) {
  return h(
    'div.line.small',
    { title: `Where the threshold comes from: ${source}` },
    h('meter', { min: 0, max: limit, value: Math.min(level, limit), 'aria-hidden': 'true' }),
    h('span.muted', `${level} of ${limit} ${distinct ? 'different syndromes' : 'errors'} in ${window / 3600} h`),
  );
}

function pages({ pages: list, pages_beyond: beyond }) {
  if (!list.length) return h('p.empty', 'None.');
  const more = list.length - PAGES_SHOWN + beyond;
  return [
    h(
      'div.scroll',
      h(
        'table.fold',
        h(
          'thead',
          h(
            'tr',
            ['page', 'state', 'errors', 'module'].map((name) => h('th', name)),
          ),
        ),
        h(
          'tbody',
          list
            .slice(0, PAGES_SHOWN)
            .map((page) =>
              h(
                'tr',
                { 'data-key': page.frame, 'data-item': true, tabindex: '0' },
                h(
                  'td',
                  { 'data-name': 'page' },
                  h('code', { title: `host-physical address ${page.address}` }, hex(page.frame)),
                  page.pages > 1 ? ` + ${page.pages - 1}` : '',
                ),
                h('td', { 'data-name': 'state' }, tag(pageState(page))),
                h(
                  'td.num',
                  { 'data-name': 'errors', title: 'Corrected errors of this page that are remembered' },
                  page.errors.toLocaleString('en'),
                ),
                h('td', { 'data-name': 'module' }, page.dimm || '—'),
              ),
            ),
        ),
      ),
    ),
    more > 0 ? h('p.small.muted', `and ${more.toLocaleString('en')} more`) : null,
  ];
}

function pageState(page) {
  if (page.out_of_use) return { tone: 'good', label: 'out of use', meaning: 'Nobody can use it any more' };
  if (page.stays_bad)
    return {
      tone: 'warn',
      label: 'bad, in use again',
      meaning: 'It was judged bad; a reboot has put it back into use',
    };
  return { tone: 'calm', label: 'erring', meaning: 'It had corrected errors' };
}

export const actions = {
  dimm: (name) => {
    view.chosen = view.chosen === name ? null : name;
    if (location.hash !== '#/host') location.hash = '#/host';
  },
  unchoose: () => {
    view.chosen = null;
  },
};

export function back() {
  if (!view.chosen) return false;
  view.chosen = null;
  return true;
}
