// A list of many rows of one height, of which only those in sight are in the document. What is read stays where it is
// when rows come in above it; at the top, new rows are simply there.

import { h, morphChildren } from './dom.js';

const BEYOND = 8; // rows kept above and below what is in sight: a quick scroll does not show emptiness

export class LongList {
  /** `row(item)` gives a row's content, `key(item)` its number, `open(item)` is called on Enter and click. */
  constructor({ label, row, key, open, empty }) {
    Object.assign(this, { row, key, open, empty });
    this.items = [];
    this.chosen = null;
    this.fresh = 0;
    this.probe = h('div.lrow.probe', { 'aria-hidden': 'true' });
    this.inner = h('div.linner');
    this.node = h(
      'div.llist',
      { tabindex: '0', role: 'listbox', 'aria-label': label, 'data-own': true },
      this.inner,
      this.probe,
    );
    this.more = h('button.newer', { type: 'button', hidden: true });
    this.frame = h('div.lframe', { 'data-own': true }, this.more, this.node);
    this.node.addEventListener(
      'scroll',
      () => {
        if (this.node.scrollTop < this.height) this.seen();
        this.draw();
      },
      { passive: true },
    );
    this.node.addEventListener('click', (event) => this.clicked(event));
    this.more.addEventListener('click', () => {
      this.node.scrollTop = 0;
      this.node.focus();
    });
    this.watch = new ResizeObserver(() => this.measure());
    this.watch.observe(this.node);
  }

  get height() {
    return this.tall || 36;
  }

  measure() {
    const tall = this.probe.getBoundingClientRect().height;
    if (tall && tall !== this.tall) {
      const top = this.tall ? this.node.scrollTop / this.tall : 0;
      this.tall = tall;
      this.node.scrollTop = top * tall;
    }
    this.draw();
  }

  /** The rows are `items`, the newest first. */
  set(items) {
    const top = this.items.length ? this.key(this.items[0]) : null;
    const came = top === null ? 0 : items.findIndex((item) => this.key(item) === top);
    this.items = items;
    if (came > 0 && this.node.scrollTop >= this.height) {
      this.sync();
      this.node.scrollTop += came * this.height;
      this.fresh += came;
    }
    this.draw();
  }

  seen() {
    this.fresh = 0;
  }

  sync() {
    const wanted = `${this.items.length * this.height}px`;
    if (this.inner.style.height !== wanted) this.inner.style.height = wanted;
  }

  draw() {
    this.sync();
    const from = Math.max(0, Math.floor(this.node.scrollTop / this.height) - BEYOND);
    const to = Math.min(
      this.items.length,
      Math.ceil((this.node.scrollTop + this.node.clientHeight) / this.height) + BEYOND,
    );
    const next = h('div');
    for (let at = from; at < to; at += 1) {
      const item = this.items[at];
      const key = String(this.key(item));
      const node = h(
        'div.lrow',
        {
          'data-key': key,
          'data-at': at,
          id: `row-${key}`,
          role: 'option',
          'aria-selected': String(this.chosen === key),
          'aria-posinset': at + 1,
          'aria-setsize': this.items.length,
        },
        this.row(item),
      );
      next.append(node);
    }
    if (!this.items.length) next.append(h('p.empty', this.empty));
    morphChildren(this.inner, next);
    for (const node of this.inner.children) {
      if (node.dataset.at !== undefined)
        node.style.transform = `translateY(${Number(node.dataset.at) * this.height}px)`;
    }
    this.node.setAttribute('aria-activedescendant', this.chosen === null ? '' : `row-${this.chosen}`);
    this.more.hidden = this.fresh === 0;
    const words = `${this.fresh} newer above`;
    if (this.more.textContent !== words) this.more.textContent = words;
  }

  index() {
    return this.chosen === null ? -1 : this.items.findIndex((item) => String(this.key(item)) === this.chosen);
  }

  /** Choose the row `by` further, and bring it into sight. */
  move(by) {
    if (!this.items.length) return;
    const at = this.index();
    this.choose(
      at < 0 ? Math.floor(this.node.scrollTop / this.height) : Math.min(this.items.length - 1, Math.max(0, at + by)),
    );
    this.node.focus({ preventScroll: true });
  }

  choose(at) {
    this.chosen = String(this.key(this.items[at]));
    const top = at * this.height;
    if (top < this.node.scrollTop) this.node.scrollTop = top;
    else if (top + this.height > this.node.scrollTop + this.node.clientHeight)
      this.node.scrollTop = top + this.height - this.node.clientHeight;
    this.draw();
    this.onchoose?.(this.items[at]);
  }

  enter() {
    const at = this.index();
    if (at >= 0) this.open(this.items[at]);
  }

  clicked(event) {
    const row = event.target.closest('.lrow');
    if (!row || event.target.closest('a, button')) return;
    this.choose(Number(row.dataset.at));
  }
}
