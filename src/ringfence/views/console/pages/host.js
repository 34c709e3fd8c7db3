// The host: its picture, the module that was chosen, what is held against its parts, and pages in trouble.

import { api } from '../api.js';
import { addresses, actions as deeds, hex } from '../deeds.js';
import { h } from '../dom.js';
import { isJudged, picture, ranksOf } from '../picture.js';
import { caseLink, grade, head, tag } from '../pieces.js';
import { changed, may, store } from '../store.js';
import { ago } from '../time.js';
import { DEEDS, partStateOf, plural, stageOf } from '../words.js';

export const title = () => 'Host';

const view = { chosen: null, page: '', by: 'frame', known: null, cpu: '', wrong: {} };
const PAGE_BITS = 12n; // of x86
const MOST_FRAMES = 1n << 40n; // a physical address has at most 52 bits (SDM vol. 3A 4.1.4)
const MOST_CPUS = 65_536; // as the API takes them
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
    h(
      'div.grid.two.below',
      { 'data-key': 'by-hand' },
      h('section.card', { 'aria-labelledby': 'a-page' }, h('h2', { id: 'a-page' }, 'A page'), onePage()),
      may('operate')
        ? h('section.card', { 'aria-labelledby': 'a-cpu' }, h('h2', { id: 'a-cpu' }, 'A CPU'), oneCpu())
        : null,
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
          each.state === 'faulty' && each.suspect !== 'page' && !may('administer')
            ? h('p.small.muted', 'Replace it, then: ', h('code', `ringfence repaired '${each.part}' --replaced`))
            : null,
          may('administer') ? ended(each) : null,
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

/** A person's word that a part is not at fault any more, or never was. */
const ended = (each) =>
  h(
    'div.chips',
    { role: 'group', 'aria-label': `Say of ${each.part}` },
    ['acquitted', 'repaired', 'replaced']
      .filter((how) => how !== 'replaced' || each.suspect !== 'page')
      .map((how) =>
        h(
          'button.chip',
          { type: 'button', 'data-do': 'do-part', 'data-arg': `${how} ${each.part}`, title: DEEDS[how].means },
          `It ${DEEDS[how].verb} …`,
        ),
      ),
  );

// --- by hand: a page, a CPU -------------------------------------------------------------------------------------------

/** A field; Enter in it presses the button that does `enter`, if that changes nothing. */
const field = (name, label, placeholder, enter = null) =>
  h('input.field.inline', {
    type: 'text',
    'data-input': name,
    'data-enter': enter,
    'aria-label': label,
    placeholder,
    autocomplete: 'off',
  });

function onePage() {
  return [
    h(
      'div.line',
      field('page', 'The number of a page', '0x12345', 'page'),
      h(
        'select.field.inline',
        { 'data-input': 'by', 'aria-label': 'What the number is' },
        h('option', { value: 'frame', selected: view.by === 'frame' }, 'a frame’s number'),
        h('option', { value: 'address', selected: view.by === 'address' }, 'a physical address'),
      ),
      h('button.button', { type: 'button', 'data-do': 'page' }, 'What is known of it'),
    ),
    h('div', { 'aria-live': 'polite' }, view.wrong.page ? h('p.wrong', view.wrong.page) : known(view.known)),
  ];
}

function known(page) {
  if (!page) return h('p.empty', 'Ask for any page of the host, also one that never erred.');
  return [
    h(
      'dl.facts',
      { class: 'gap' },
      h('dt', 'page'),
      h('dd', h('code', hex(page.frame))),
      h('dt', 'addresses'),
      h('dd', h('code', addresses(page.frame))),
      h('dt', 'use'),
      h('dd', page.out_of_use ? 'out of use' : 'in use, as far as Ringfence knows'),
      h('dt', 'stands'),
      h('dd', tag(partStateOf(page.state))),
      h('dt', 'errors'),
      h('dd', `${plural(page.errors, 'corrected error')} counted`),
      page.dimm ? [h('dt', 'module'), h('dd', page.dimm)] : null,
      page.cases.length
        ? [
            h('dt', 'open cases'),
            h(
              'dd',
              page.cases.map((each) => [caseLink(each), ' ']),
            ),
          ]
        : null,
    ),
    may('operate') ? switches('switch', page.frame) : null,
  ];
}

/** The two ways to turn a page or a CPU. */
const switches = (does, number = '') =>
  h(
    'div.line',
    { class: 'gap' },
    h('button.button', { type: 'button', 'data-do': does, 'data-arg': `offline ${number}` }, 'Take out of use …'),
    h('button.button', { type: 'button', 'data-do': does, 'data-arg': `online ${number}` }, 'Put back into use …'),
  );

function oneCpu() {
  return [
    h('div.line', field('cpu', 'The number of a CPU', '3')),
    view.wrong.cpu ? h('p.wrong', { role: 'alert' }, view.wrong.cpu) : null,
    switches('cpu'),
  ];
}

/** A number as people write one, 0x12 or 18; null if it is none. */
const numberOf = (text) => (/^(0x[0-9a-f]+|[0-9]+)$/i.test(text.trim()) ? BigInt(text.trim()) : null);

async function ask() {
  const given = numberOf(view.page);
  const frame = given !== null && view.by === 'address' ? given >> PAGE_BITS : given;
  view.known = null;
  view.wrong.page = '';
  if (frame === null) view.wrong.page = 'This is no number: write 0x1234 or 4660.';
  else if (frame >= MOST_FRAMES) view.wrong.page = 'No machine has so much memory: is it an address?';
  else {
    try {
      view.known = await api.onePage(Number(frame));
    } catch (error) {
      view.wrong.page = `${error.detail} ${error.advice}`;
    }
  }
  changed();
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
  page: ask,
  switch: (key) => deeds['do-page'](key, null, ask),
  cpu: (to) => {
    const number = numberOf(view.cpu);
    view.wrong.cpu = number === null || number >= MOST_CPUS ? 'This is no number of a CPU: write 3.' : '';
    if (!view.wrong.cpu) deeds['do-cpu'](`${to.trim()} ${number}`);
  },
};

export const inputs = {
  page: (text) => {
    view.page = text;
  },
  by: (what) => {
    view.by = what;
  },
  cpu: (text) => {
    view.cpu = text;
  },
};

export function back() {
  if (!view.chosen) return false;
  view.chosen = null;
  return true;
}
