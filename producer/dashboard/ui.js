// ui: what every view is made of: elements (never markup: what comes from data is text), updating what is
// shown without losing focus, scroll and selection, tables, dialogs, times and numbers.

// ---- elements ---------------------------------------------------------------------------------------

const SVG = new Set(['svg', 'path', 'circle', 'polyline', 'rect', 'line', 'g']);

// h('p', {class: 'x', onclick: f, key: 7}, 'text', h('b', null, 'more')). null, false and undefined take
// the place of a child or a property that is not there. css: {width: '3px'} sets styles by the CSSOM, as
// the content security policy allows no style attribute. keep: render() leaves the element alone.
export function h(tag, props, ...children) {
    const el = SVG.has(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag)
        : document.createElement(tag);
    for (const [name, value] of Object.entries(props ?? {})) {
        if (value === null || value === undefined || value === false) continue;
        if (name.startsWith('on')) (el.$on ??= {})[name] = el[name] = value;
        else if (name === 'key') el.$key = String(value);
        else if (name === 'keep') el.$keep = true;
        else if (name === 'css') for (const [k, v] of Object.entries(value)) el.style.setProperty(k, v);
        else if (name === 'value') continue; // below: a select needs its options first
        else if (name === 'checked') el.checked = el.$checked = value;
        else el.setAttribute(name, value === true ? '' : value);
    }
    for (const child of children.flat(Infinity)) el.append(node(child));
    if (props && 'value' in props) el.value = el.$value = props.value ?? '';
    return el;
}

function node(child) {
    if (child instanceof Node) return child.$keep && child.isConnected ? standIn(child) : child;
    // A comment keeps the place, so that what follows is compared with what was there.
    if (child === null || child === undefined || child === false) return document.createComment('');
    return document.createTextNode(child);
}

// What is kept and shown already must not leave the document for a moment: it would lose its scrolling.
function standIn(el) {
    const copy = el.cloneNode(false);
    copy.$key = el.$key;
    copy.$keep = true;
    return copy;
}

// Makes `into` show `children` by changing only what differs. Elements with a key are the same element as
// long as their key is there; others are compared by place.
export function render(into, ...children) {
    const focus = document.activeElement;
    const want = document.createElement(into.nodeName);
    for (const child of children.flat(Infinity)) want.append(node(child));
    morphChildren(into, want);
    if (focus && focus !== document.activeElement && focus.isConnected) focus.focus({ preventScroll: true });
}

function alike(a, b) {
    return a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.$key === b.$key;
}

function morphChildren(a, b) {
    const wanted = new Set(), have = new Map();
    for (const child of b.childNodes) if (child.$key !== undefined) wanted.add(child.$key);
    for (const child of [...a.childNodes]) {
        if (child.$key === undefined) continue;
        if (wanted.has(child.$key)) have.set(child.$key, child);
        else child.remove();
    }
    let at = a.firstChild;
    for (const want of [...b.childNodes]) {
        const same = want.$key !== undefined ? have.get(want.$key) : at?.$key === undefined ? at : null;
        if (same && alike(same, want)) {
            if (same === at) at = at.nextSibling;
            else a.insertBefore(same, at);
            morph(same, want);
        } else {
            a.insertBefore(want, at);
            if (same && same === at) {
                at = at.nextSibling;
                same.remove();
            }
        }
    }
    while (at) {
        const next = at.nextSibling;
        at.remove();
        at = next;
    }
}

function morph(a, b) {
    if (a.nodeType !== Node.ELEMENT_NODE) {
        if (a.data !== b.data) a.data = b.data;
        return;
    }
    if (b.$keep) return;
    for (const { name } of [...a.attributes])
        if (!b.hasAttribute(name) && name !== 'style' && !(name === 'open' && a.nodeName === 'DETAILS'))
            a.removeAttribute(name);
    for (const { name, value } of b.attributes)
        if (name !== 'style' && a.getAttribute(name) !== value) a.setAttribute(name, value);
    if (a.style.cssText !== b.style.cssText) a.style.cssText = b.style.cssText;
    for (const name of Object.keys(a.$on ?? {})) if (!b.$on?.[name]) a[name] = null;
    Object.assign(a, b.$on);
    a.$on = b.$on;
    morphChildren(a, b);
    // What someone has typed stays, until the view itself wants another value.
    if (b.$value !== a.$value) a.value = a.$value = b.$value;
    if (b.$checked !== a.$checked) a.checked = a.$checked = b.$checked;
}

// ---- times and numbers ------------------------------------------------------------------------------

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });
const CLOCK = new Intl.DateTimeFormat(undefined,
    { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const NUMBER = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

export const clock = (at) => CLOCK.format(new Date(at));
export const number = (n) => n === null || n === undefined ? '–' : NUMBER.format(n);

export function rate(n) {
    if (n === null || n === undefined) return '–';
    return n === 0 ? '0' : n < 10 ? (n < 0.01 ? '<0.01' : n.toFixed(n < 1 ? 2 : 1)) : NUMBER.format(Math.round(n));
}

const two = (a, large, b, small) => b ? `${a} ${large} ${b} ${small}` : `${a} ${large}`;

export function duration(ms) {
    if (ms === null || ms === undefined) return '–';
    if (ms < 0.1) return ms ? '<0.1 ms' : '0 ms';
    if (ms < 10) return `${NUMBER.format(ms)} ms`;
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 10000) return `${(ms / 1000).toFixed(1)} s`;
    const s = Math.round(ms / 1000);
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min${s % 60 && s < 600 ? ` ${s % 60} s` : ''}`;
    if (s < 86400) return two(Math.floor(s / 3600), 'h', Math.floor(s % 3600 / 60), 'min');
    return two(Math.floor(s / 86400), 'd', Math.floor(s % 86400 / 3600), 'h');
}

// For where there is little room: one unit.
export function brief(ms) {
    if (ms === null || ms === undefined || ms < 60000) return duration(ms);
    const [by, unit] = ms < 3600000 ? [60000, 'min'] : ms < 86400000 ? [3600000, 'h'] : [86400000, 'd'];
    return `${NUMBER.format(ms / by < 10 ? ms / by : Math.round(ms / by))} ${unit}`;
}

export function bytes(n) {
    if (n === null || n === undefined) return '–';
    let unit = 0;
    for (; n >= 1024 && unit < 4; unit++) n /= 1024;
    return `${n < 10 && unit ? n.toFixed(1) : Math.round(n)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
}

// What stands in the address may be anything: the option (of [[value, text], ...]) that it names, or the usual one.
export function chosen(options, value, usual) {
    const found = options.find(([option]) => String(option) === value);
    return found ? found[0] : usual;
}

export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

function roughly(ms) {
    const s = Math.floor(ms / 1000);
    if (s < 60) return `${s} s`;
    return s < 3600 ? `${Math.floor(s / 60)} min` : duration(ms);
}

function relative(at) {
    const ms = Date.now() - at;
    if (Math.abs(ms) < 1500) return 'now';
    return ms < 0 ? `in ${roughly(-ms)}` : `${roughly(ms)} ago`;
}

const titles = new Map(); // Intl takes its time, and lists show the same moments again and again

function titleOf(iso, at) {
    if (titles.size > 5000) titles.clear();
    if (!titles.has(iso)) titles.set(iso, EXACT.format(at));
    return titles.get(iso);
}

// "12 s ago", exactly in the title; kept up to date by tick().
export function ago(iso) {
    if (!iso) return '–';
    const at = new Date(iso);
    return h('time', { datetime: iso, title: titleOf(iso, at), 'data-ago': at.getTime() }, relative(at));
}

export function exact(iso) {
    return iso ? h('time', { datetime: iso, title: iso }, EXACT.format(new Date(iso))) : '–';
}

setInterval(() => {
    for (const el of document.querySelectorAll('time[data-ago]')) {
        const text = relative(Number(el.dataset.ago));
        if (el.textContent !== text) el.textContent = text;
    }
}, 1000);

// ---- small things -----------------------------------------------------------------------------------

// Addresses come from strangers: only http and https become links.
export function link(url, text = url) {
    if (!/^https?:\/\//i.test(url ?? '')) return h('span', { class: 'url' }, text ?? '–');
    return h('a', { class: 'url', href: url, rel: 'noreferrer noopener', target: '_blank', title: url }, text);
}

const MARKS = {
    completed: '✓', closed: '✓', alive: '✓', done: '✓', ok: '✓', failed: '✕', error: '✕', dead: '✕', open: '✕',
    in_progress: '▸', busy: '▸', applying: '▸', running: '▸', queued: '◦', planned: '◦', superseded: '⇥',
    half_open: '◐', warn: '!', silent: '!', quiet: '‖', paused: '‖', cancelled: '–', stopped: '–', info: 'i',
};

// Colour is never the only sign: each status has its mark and its word.
export function badge(status, text) {
    const word = String(status ?? 'unknown').split(':')[0];
    return h('span', { class: 'badge', 'data-status': word, title: status !== word ? status : null },
        h('i', { 'aria-hidden': 'true' }, MARKS[word] ?? '·'), text ?? word.replaceAll('_', ' '));
}

export function button(name, text, onclick, props) {
    return h('button', { type: 'button', 'data-action': name, onclick, ...props }, text);
}

// A write: not there for who may only read.
export function action(name, text, onclick, props) {
    return document.body.dataset.role === 'write' && button(name, text, onclick, { 'data-write': true, ...props });
}

export function meter(done, all, text) {
    const part = all > 0 ? Math.min(1, done / all) : 0;
    return h('div', { class: 'meter', role: 'img', 'aria-label': text, title: text },
        h('span', { css: { width: `${part * 100}%` } }));
}

// parts: [[name, value, text]]: a bar of their shares, and what each is.
export function stacked(parts, legend) {
    const all = parts.reduce((sum, part) => sum + (part[1] || 0), 0);
    const text = parts.map(([name, , value]) => `${name} ${value}`).join(', ');
    return h('div', { class: 'stacked' },
        h('div', { class: 'bar', role: 'img', 'aria-label': text, title: text }, parts.map(([, value], i) =>
            h('span', { class: `part${i}`, css: { 'flex-grow': all ? (value || 0) / all : 0 } }))),
        legend && h('ul', { class: 'keys' }, parts.map(([name, value, shown], i) =>
            h('li', null, h('i', { class: `swatch part${i}` }), `${name} `, h('b', null, shown),
                all > 0 && ` ${Math.round((value || 0) / all * 100)} %`))));
}

export function empty(title, ...what) {
    return h('div', { class: 'empty' }, h('h3', null, title), what.map((part) => h('p', null, part)));
}

export function fault(error, again) {
    return h('div', { class: 'alert', 'data-level': 'error', role: 'alert' },
        h('i', { 'aria-hidden': 'true' }, '✕'), h('span', null, error.message ?? String(error)),
        again && button('again', 'Try again', again));
}

export function panel(title, tools, ...body) {
    return h('section', { class: 'panel', 'aria-label': title },
        h('div', { class: 'head' }, h('h2', null, title), tools), body);
}

// pairs: [[term, what]]; those without a what are left out.
export function facts(pairs) {
    return h('dl', { class: 'facts' }, pairs.filter(([, what]) => what !== null && what !== undefined && what !== '')
        .map(([term, what]) => h('div', { key: term }, h('dt', null, term), h('dd', null, what))));
}

export function heading(title, ...tools) {
    return h('div', { class: 'title' }, h('h1', { tabindex: '-1' }, title), h('div', { class: 'tools' }, tools));
}

export function select(name, label, value, options, onchange) {
    return h('label', null, h('span', null, label), h('select', { name, value, onchange: (e) => onchange(e.target.value) },
        options.map(([v, text]) => h('option', { value: v }, text))));
}

export function segments(label, value, options, choose) {
    return h('div', { class: 'segments', role: 'group', 'aria-label': label }, options.map(([v, text]) =>
        h('button', { type: 'button', 'aria-pressed': String(v === value), onclick: () => choose(v) }, text)));
}

export function later(ms, f) {
    let timer;
    return (...args) => {
        clearTimeout(timer);
        timer = setTimeout(f, ms, ...args);
    };
}

export function toast(text, level = 'ok') {
    const el = h('div', { class: 'toast', 'data-level': level }, text);
    document.getElementById('toasts').append(el);
    setTimeout(() => el.remove(), level === 'error' ? 10000 : 4000);
}

// Runs a write; says how it went. Resolves with its answer, or undefined.
export async function attempt(what, done) {
    try {
        const answer = await what();
        if (done) toast(typeof done === 'function' ? done(answer) : done);
        return answer ?? true;
    } catch (error) {
        toast(error.message, 'error');
    }
}

// ---- dialogs ----------------------------------------------------------------------------------------

// body: elements; close: what a button of them calls. Resolves with what close() was given.
export function dialog(title, body) {
    return new Promise((resolve) => {
        let result;
        const close = (value) => { result = value; box.close(); };
        const box = h('dialog', { 'aria-label': title, onclose: () => { box.remove(); resolve(result); } });
        const show = (...nodes) => render(box, h('div', { class: 'head' }, h('h2', null, title),
            button('close', '✕', () => close(), { 'aria-label': 'Close', class: 'plain' })), nodes);
        show(body(close, show));
        document.body.append(box);
        box.showModal();
    });
}

// Asks for one line of text; undefined when they think better of it.
export function ask(title, text, label, verb, action) {
    return dialog(title, (close) => h('form', { method: 'dialog', onsubmit: (e) => {
        e.preventDefault();
        close(e.target.elements.answer.value);
    } }, h('p', null, text), h('label', null, h('span', null, label), h('input', { name: 'answer', autocomplete: 'off', autofocus: true })),
    h('div', { class: 'buttons' }, button('cancel', 'Cancel', () => close()),
        h('button', { type: 'submit', class: 'primary', 'data-action': action }, verb))));
}

// ---- tables -----------------------------------------------------------------------------------------

// {caption, cols: [{head, cell, class, sort}], rows, key, href, sort: {by, down}, resort}: sort is the
// caller's to keep; resort is called when it has changed. On a narrow screen each row is a card: the roles
// say what layout then hides.
export function table({ caption, cols, rows, key, href, sort, resort, props }) {
    if (sort?.by !== undefined && cols[sort.by]?.sort) {
        const by = cols[sort.by].sort, sign = sort.down ? -1 : 1;
        rows = [...rows].sort((a, b) => sign * compare(by(a), by(b)));
    }
    return h('div', { class: 'scroll' }, h('table', { role: 'table', ...props },
        h('caption', { class: 'hidden' }, caption),
        h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, cols.map((col, i) => heads(col, i, sort, resort)))),
        h('tbody', { role: 'rowgroup' }, rows.map((row) => line(cols, row, key(row), href?.(row))))));
}

function compare(a, b) {
    if (a === b) return 0;
    if (a === null || a === undefined) return -1;
    if (b === null || b === undefined) return 1;
    return a < b ? -1 : 1;
}

function heads(col, i, sort, resort) {
    if (!col.sort || !sort) return h('th', { role: 'columnheader', scope: 'col', class: col.class }, col.head || h('span', { class: 'hidden' }, 'Actions'));
    const on = sort.by === i;
    return h('th', { role: 'columnheader', scope: 'col', class: col.class, 'aria-sort': on ? (sort.down ? 'descending' : 'ascending') : 'none' },
        h('button', { type: 'button', class: 'plain', onclick: () => {
            sort.down = on ? !sort.down : true;
            sort.by = i;
            resort();
        } }, col.head, h('i', { 'aria-hidden': 'true' }, on ? (sort.down ? ' ↓' : ' ↑') : '')));
}

function line(cols, row, id, href, props) {
    return h('tr', { key: id, role: 'row', 'data-id': id, 'data-href': href, tabindex: href ? '-1' : null, ...props },
        cols.map((col) => h('td', { role: 'cell', class: col.class, 'data-label': col.head }, col.cell(row))));
}

// A list of any length: only the rows in sight (and some around) are in the document.
export class VirtualList {
    // {caption, cols, key, href, more}: more() is called when the end comes near.
    constructor(options) {
        this.options = options;
        this.rows = [];
        this.current = -1;
        this.height = 36;
        this.shown = new Map(); // by key: {row, i, current, tr}
        const gap = () => h('tr', { class: 'gap', 'aria-hidden': 'true' }, h('td', { colspan: options.cols.length }));
        this.above = gap();
        this.below = gap();
        this.body = h('tbody', { role: 'rowgroup' }, this.above, this.below);
        this.el = h('div', { class: 'scroll virtual', keep: true, key: 'virtual', tabindex: '0', role: 'region',
            'aria-label': options.caption, onscroll: () => this.schedule() },
        h('table', { role: 'table' }, h('caption', { class: 'hidden' }, options.caption),
            h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, options.cols.map((col) => h('th', { role: 'columnheader', scope: 'col', class: col.class }, col.head)))),
            this.body));
        this.el.$list = this;
        this.onresize = () => this.schedule();
        addEventListener('resize', this.onresize);
    }

    release() {
        removeEventListener('resize', this.onresize);
    }

    // What is looked at stays where it is when rows come in above it.
    set(rows) {
        const top = Math.floor(this.el.scrollTop / this.height), key = this.options.key;
        const seen = this.el.scrollTop > this.height && this.rows[top] && key(this.rows[top]);
        const chosen = this.rows[this.current] && key(this.rows[this.current]);
        this.rows = rows;
        if (chosen !== undefined && chosen !== null) this.current = rows.findIndex((row) => key(row) === chosen);
        this.draw();
        const now = seen ? rows.findIndex((row) => key(row) === seen) : -1;
        if (now >= 0 && now !== top) {
            this.el.scrollTop += (now - top) * this.height;
            this.draw();
        }
    }

    row(name, i) {
        const { cols, href } = this.options, row = this.rows[i], current = i === this.current, had = this.shown.get(name);
        if (had?.row === row && had.i === i && had.current === current) return had.tr;
        const tr = line(cols, row, name, href(row), { 'aria-rowindex': i + 2, class: current ? 'current' : null });
        if (had) morph(had.tr, tr);
        this.shown.set(name, { row, i, current, tr: had?.tr ?? tr });
        return had?.tr ?? tr;
    }

    schedule() {
        this.frame ??= requestAnimationFrame(() => {
            this.frame = null;
            this.draw();
        });
    }

    // [first, end) of the rows in the document.
    inSight() {
        const first = Math.max(0, Math.floor(this.el.scrollTop / this.height) - 8);
        return [first, Math.min(this.rows.length, first + Math.ceil((this.el.clientHeight || 600) / this.height) + 16)];
    }

    // Rows that are shown already and have not changed are left alone: scrolling makes only the new ones.
    draw() {
        const { key, more } = this.options, rows = this.rows;
        const [first, last] = this.inSight();
        const wanted = new Map();
        for (let i = first; i < last; i++) wanted.set(String(key(rows[i])), i);
        for (const [name, { tr }] of this.shown) if (!wanted.has(name)) tr.remove(), this.shown.delete(name);
        let at = this.above.nextSibling;
        for (const [name, i] of wanted) {
            const tr = this.row(name, i);
            if (tr === at) at = at.nextSibling;
            else this.body.insertBefore(tr, at);
        }
        this.above.firstChild.style.height = `${first * this.height}px`;
        this.below.firstChild.style.height = `${(rows.length - last) * this.height}px`;
        this.body.parentNode.setAttribute('aria-rowcount', rows.length + 1);
        const sample = this.body.children[1];
        if (sample && !sample.classList.contains('gap') && sample.offsetHeight && sample.offsetHeight !== this.height) {
            this.height = sample.offsetHeight;
            this.schedule();
        }
        if (last > rows.length - 60) more();
    }

    move(by) {
        if (!this.rows.length) return;
        this.current = Math.max(0, Math.min(this.rows.length - 1, this.current + by));
        const top = this.current * this.height, room = this.el.clientHeight - 2 * this.height;
        if (top < this.el.scrollTop) this.el.scrollTop = top;
        else if (top > this.el.scrollTop + room) this.el.scrollTop = top - room;
        this.draw();
        this.body.querySelector('tr.current')?.focus({ preventScroll: true });
    }
}

// j and k: to the next row of the view that can be opened.
export function moveRow(main, by) {
    const list = main.querySelector('.virtual')?.$list;
    if (list) return list.move(by);
    const rows = [...main.querySelectorAll('tr[data-href]')], at = rows.indexOf(document.activeElement.closest?.('tr'));
    rows[Math.max(0, Math.min(rows.length - 1, at + by))]?.focus();
}
