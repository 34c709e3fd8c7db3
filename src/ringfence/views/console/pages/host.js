// The host as a picture: sockets with their CPUs, channels and DIMMs with their errors as a heat map; domains; pages in
// trouble; faults. Every number says in its title what it counts.

import { h } from '../dom.js';
import { head, mebibytes, tag } from '../pieces.js';
import { store } from '../store.js';
import { ago, length } from '../time.js';
import { domainStateOf, gradeOf, markOf, plural, stageOf } from '../words.js';

export const title = () => 'Host';

const view = { chosen: null };
const TILES_SHOWN = 60;
const PAGES_SHOWN = 100;

const HEAT = [
  [0, 'no corrected errors'], [1, '1 or 2'], [2, '3 to 9'], [3, '10 and more'], [4, 'judged bad, or an uncorrected error'],
];

const ENDED = new Set(['repaired', 'replaced', 'acquitted']);

/** How hot a part is: by its corrected errors, and hottest when it was judged bad or lost data. */
function heat(part) {
  if (part.uncorrected || (part.stage && !ENDED.has(part.stage))) return 4;
  return part.errors === 0 ? 0 : part.errors < 3 ? 1 : part.errors < 10 ? 2 : 3;
}

const window_ = () => length(store.host.window_ms);

/** Sockets, channels, DIMMs and domains; `small` leaves out CPUs and what DIMMs say beside their count. */
export function picture({ small = false } = {}) {
  if (!store.host) return h('p.muted', 'Asking the service …');
  const { sockets } = store.host;
  return [
    sockets.length ? h('div.sockets', sockets.map((each) => socket(each, small)))
      : h('p.empty', 'No part of the machine is known yet: it is drawn as evidence names its parts.'),
    sockets.length ? legend() : null,
    h('h2', { class: 'gap' }, 'Domains'), tiles(),
  ];
}

function socket(each, small) {
  const errors = each.channels.flatMap((channel) => channel.dimms).reduce((sum, dimm) => sum + dimm.errors, 0);
  return h('section.socket', { 'data-key': `socket ${each.socket}` },
    h('header', h('h3', each.socket === null ? 'Not placed' : `Socket ${each.socket}`),
      h('span.small.muted', { title: `Corrected errors of its memory within ${window_()}` }, plural(errors, 'memory error'))),
    each.cpus.length ? h('div.cpus', { role: 'list', 'aria-label': `CPUs of socket ${each.socket}` }, each.cpus.map(cpu)) : null,
    h('div.channels', each.channels.map((channel) => h('div.channel', { 'data-key': `${channel.controller} ${channel.channel}` },
      h('div.name', channel.channel === null ? 'channel not known' : `${channel.controller !== null ? `controller ${channel.controller} ` : ''}channel ${channel.channel}`),
      channel.dimms.map((dimm) => module_(dimm, small))))));
}

function cpu(each) {
  const words = `CPU ${each.cpu}: ${plural(each.errors, 'corrected error')} within ${window_()}${each.out ? '; out of use' : ''}${each.stage ? `; ${stageOf(each.stage).label}` : ''}`;
  return h(`span.cpu.heat-${heat(each)}`, { class: each.out ? 'out' : '', role: 'listitem', title: words, 'aria-label': words, 'data-key': each.cpu }, String(each.cpu));
}

function module_(dimm, small) {
  const level = heat(dimm);
  const judged = dimm.stage && !ENDED.has(dimm.stage) ? stageOf(dimm.stage).label : '';
  const words = `${dimm.name}: ${plural(dimm.errors, 'corrected error')}, ${plural(dimm.syndromes, 'distinct syndrome')} of its ranks within ${window_()}; ${plural(dimm.pages_out, 'page')} out of use${dimm.uncorrected ? `; ${plural(dimm.uncorrected, 'uncorrected error')}` : ''}${judged ? `; ${judged}` : ''}`;
  return h(`button.dimm.heat-${level}`, {
    type: 'button', 'data-do': 'dimm', 'data-arg': dimm.name, 'data-key': dimm.name, 'data-item': true, title: words,
    'aria-label': words, 'aria-pressed': small ? null : String(view.chosen === dimm.name),
  },
  h('span.label', dimm.label || short(dimm.name)),
  h('span.much', dimm.errors ? `${dimm.errors.toLocaleString('en')} CE` : '—', !small && dimm.syndromes ? ` · ${dimm.syndromes} syn` : ''),
  judged || dimm.uncorrected ? h('span.bad', `${markOf(judged ? stageOf(dimm.stage).tone : 'bad')} ${judged || plural(dimm.uncorrected, 'UE')}`) : null);
}

/** "socket 0 channel 1 slot 0" within its socket and channel: "slot 0". */
const short = (name) => /(slot \d+.*)$/.exec(name)?.[1] ?? (/channel \d+$/.test(name) ? 'module' : name);

function legend() {
  return h('div.legend', { 'aria-label': 'What the colours mean' },
    h('span', `corrected errors (CE) within ${window_()}:`),
    HEAT.map(([level, words]) => h('span', h('i', { class: `heat-${level}`, 'aria-hidden': 'true' }), words)));
}

function tiles() {
  const { domains } = store;
  if (!domains.length) return h('p.empty', 'No domains.');
  // Those in trouble first: with a thousand domains they must not be the ones that are left off.
  const weight = (line) => (line.cases.length ? 0 : line.state !== 'running' ? 1 : 2);
  const sorted = domains.length > TILES_SHOWN ? [...domains].sort((a, b) => weight(a) - weight(b) || a.domain - b.domain) : domains;
  const more = sorted.length - TILES_SHOWN;
  return h('div.tiles', sorted.slice(0, TILES_SHOWN).map((line) => {
    const { label, tone } = domainStateOf(line.state);
    const words = `${line.name}, domain ${line.domain}, ${line.kind}, ${mebibytes(line.memory_mib)}: ${label}${line.cases.length ? `; ${plural(line.cases.length, 'open case')}` : ''}`;
    const troubled = line.cases.length ? 'warn' : tone === 'good' ? '' : tone;
    return h('a.tile', { class: troubled, href: line.cases.length ? `#/case/${line.cases[0]}` : '#/domains', title: words, 'aria-label': words, 'data-key': line.domain, 'data-item': true },
      troubled ? h('span.mark', { 'aria-hidden': 'true' }, `${markOf(troubled)} `) : null, line.name, line.state === 'running' ? null : h('span.small', ` ${label}`));
  }), more > 0 ? h('a.tile.calm', { href: '#/domains' }, `and ${plural(more, 'more')}`) : null);
}

// --- the page ---------------------------------------------------------------------------------------------------------

export function render() {
  const { host, status } = store;
  const live = host.faults.filter((fault) => !ENDED.has(fault.stage));
  return [
    head('Host', `${status.hypervisor}; Dom0 is ${status.dom0}${status.halted ? '; HALTED' : ''}`),
    h('section.card', { 'aria-label': 'The host as a picture' }, picture()),
    view.chosen ? module_detail(view.chosen) : null,
    h('div.grid.two.below',
      h('section.card', { 'aria-labelledby': 'faults' }, h('h2', { id: 'faults' }, 'Parts that were judged'), live.length ? faults(live) : h('p.empty', 'None: no part has passed a threshold.')),
      h('section.card', { 'aria-labelledby': 'pages' }, h('h2', { id: 'pages' }, 'Pages in trouble'), pages(host.pages))),
    status.lacks.length ? h('section.card', h('h2', 'What this backend cannot do'), h('p.small', status.lacks.map((name) => name.toLowerCase().replaceAll('_', ' ')).join(', '))) : null,
  ];
}

function module_detail(name) {
  const found = store.host.sockets.flatMap((each) => each.channels).flatMap((channel) => channel.dimms).find((dimm) => dimm.name === name);
  if (!found) return null;
  const concerned = store.host.faults.filter((fault) => fault.name === name || fault.name.startsWith(`${name} `));
  const bad = store.host.pages.filter((page) => page.dimm === name);
  return h('section.card', { 'data-key': 'module', 'aria-label': `The module ${name}` },
    h('h2', found.label || name, h('button.icon', { type: 'button', 'data-do': 'unchoose', 'aria-label': 'Close', title: 'Close (Esc)' }, '✕')),
    h('dl.facts',
      h('dt', 'place'), h('dd', name),
      h('dt', 'corrected errors'), h('dd', `${found.errors.toLocaleString('en')} within ${window_()}`, found.newest_wall_ms != null ? [', the newest ', ago(found.newest_wall_ms)] : null),
      h('dt', 'uncorrected'), h('dd', String(found.uncorrected)),
      h('dt', 'ranks'), h('dd', found.ranks.length ? found.ranks.map((rank) => h('div', { title: 'Distinct syndromes of one rank predict an uncorrected error; the count alone does not (B.8)' },
        `${rank.name.replace(`${name} `, '')}: ${plural(rank.errors, 'error')}, ${plural(rank.syndromes, 'distinct syndrome')}`)) : '—'),
      h('dt', 'pages'), h('dd', `${found.pages_out} out of use`, bad.length ? `; ${bad.slice(0, 8).map((page) => hex(page.frame)).join(', ')}` : ''),
      concerned.length ? [h('dt', 'judged'), h('dd', faults(concerned))] : null));
}

const hex = (frame) => `0x${BigInt(frame).toString(16)}`;

function faults(list) {
  return h('ul.items', list.map((fault) => h('li', { 'data-key': `${fault.suspect} ${fault.name}`, 'data-item': true, tabindex: '0' },
    h('div.line', h('b', fault.name.startsWith(`${fault.suspect} `) ? fault.name : `${fault.suspect} ${fault.name}`), tag(stageOf(fault.stage)),
      fault.grade ? tag({ ...gradeOf(fault.grade), label: `${fault.grade} suspect` }) : null, fault.since_wall_ms != null ? ago(fault.since_wall_ms) : null),
    fault.evidence.length ? h('ul.small.reasons', fault.evidence.map((each) => h('li', each))) : null)));
}

function pages(list) {
  if (!list.length) return h('p.empty', 'None.');
  return h('div.scroll', h('table.fold', h('thead', h('tr', ['page', 'state', 'whose', 'module'].map((name) => h('th', name)))),
    h('tbody', list.slice(0, PAGES_SHOWN).map((page) => h('tr', { 'data-key': page.frame, 'data-item': true, tabindex: '0' },
      h('td', { 'data-name': 'page' }, h('code', { title: `host-physical address 0x${(BigInt(page.frame) << 12n).toString(16)}` }, hex(page.frame)), page.pages > 1 ? ` + ${page.pages - 1}` : ''),
      h('td', { 'data-name': 'state' }, tag(pageState(page))),
      h('td', { 'data-name': 'whose' }, page.owner || '—'),
      h('td', { 'data-name': 'module' }, page.dimm || '—'))))),
  list.length > PAGES_SHOWN ? h('p.small.muted', `and ${plural(list.length - PAGES_SHOWN, 'more')}`) : null);
}

const PAGE_STATES = {
  out: { tone: 'good', label: 'out of use', meaning: 'Nobody can use it any more' },
  back: { tone: 'warn', label: 'back in use', meaning: 'It was judged bad before a reboot, which put it back into use' },
  hit: { tone: 'warn', label: 'in a case', meaning: 'An open case is about it' },
  erring: { tone: 'calm', label: 'erring', meaning: 'It had corrected errors' },
};

const pageState = (page) => PAGE_STATES[page.state] ?? { tone: 'calm', label: page.state, meaning: '' };

export const actions = {
  dimm: (name) => {
    view.chosen = view.chosen === name ? null : name;
    if (location.hash !== '#/host') location.hash = '#/host';
  },
  unchoose: () => { view.chosen = null; },
};

export function back() {
  if (!view.chosen) return false;
  view.chosen = null;
  return true;
}

