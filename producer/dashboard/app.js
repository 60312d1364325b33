// app: the frame around the views: who is signed in, which view is shown, keys, theme, live or not.
import { live, onSignedOut, resume, signIn, signOut } from './api.js';
import { badge, button, dialog, fault, h, moveRow, number, render } from './ui.js';
import overview from './view_overview.js';
import events from './view_events.js';
import event from './view_event.js';
import crawls from './view_crawls.js';
import workers from './view_workers.js';
import dead from './view_dead.js';
import upstreams from './view_upstreams.js';
import sources from './view_sources.js';
import system from './view_system.js';

// A view: {name, title, key (after `g`), icon (a path of 16 by 16), count(overview)?, open(page)};
// `single` opens #/name/ID. What open() gets is made in show(), below.
const VIEWS = [overview, { ...events, single: event }, crawls, workers, dead, upstreams, sources, system];

const $ = (id) => document.getElementById(id);
const HASH = /^#\/([a-z]+)(?:\/([^?]*))?(?:\?(.*))?$/;
const STATES = { live: 'Live', polling: 'Polling', offline: 'Offline', connecting: 'Connecting' };

let signed = null;   // the session, null when there is none
let leave = [];      // what the shown view wants done when it goes
let shown = null;    // {view, title}
let counts = null;   // the newest answer of /api/overview
let connection = 'connecting';
let menu = false;    // is the menu of narrow screens open

// ---- frame ------------------------------------------------------------------------------------------

function frame() {
    document.body.dataset.role = signed?.role ?? 'none';
    $('top').hidden = $('nav').hidden = !signed;
    if (!signed) return;
    render($('top'),
        button('menu', h('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, h('path', { d: 'M2 4h12M2 8h12M2 12h12' })),
            () => { menu = !menu; frame(); }, { class: 'plain', 'aria-label': 'Menu', 'aria-expanded': String(menu), 'aria-controls': 'nav' }),
        h('a', { class: 'brand', href: '#/overview' }, h('img', { src: '/dashboard/icon.svg', alt: '', width: '22', height: '22' }), 'Hookline'),
        h('span', { class: 'space' }),
        h('span', { class: 'live', 'data-state': connection, role: 'status', title: 'How this page gets its news' },
            h('i', { 'aria-hidden': 'true' }), STATES[connection]),
        signed.role === 'read' && badge('info', 'read only'),
        button('help', '?', help, { class: 'plain', 'aria-label': 'Keys', title: 'Keys (?)' }),
        button('theme', h('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, h('circle', { cx: 8, cy: 8, r: 5.5 }),
            h('path', { class: 'fill', d: 'M8 2.5a5.5 5.5 0 0 1 0 11z' })), turnTheme,
        { class: 'plain', 'aria-label': 'Dark or light', title: 'Dark or light' }),
        button('sign-out', 'Sign out', async () => { await signOut(); ended(); }, { class: 'plain' }));
    $('nav').dataset.open = menu;
    render($('nav'), h('ul', null, VIEWS.map((view) => {
        const count = counts && view.count?.(counts);
        return h('li', { key: view.name }, h('a', { href: `#/${view.name}`, title: `g ${view.key}`,
            'aria-current': shown?.view === view ? 'page' : null, onclick: () => { menu = false; frame(); } },
        h('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, h('path', { d: view.icon })),
        h('span', null, view.title), count ? h('b', { class: 'count' }, number(count)) : null));
    })));
    const failed = counts?.counts?.failed;
    document.title = `${failed ? `(${number(failed)} failed) ` : ''}${shown?.title ?? ''} · Hookline`;
}

function turnTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    try { localStorage.setItem('hookline-theme', root.dataset.theme); } catch { /* until the next visit then */ }
    dispatchEvent(new Event('theme'));
}

// ---- views ------------------------------------------------------------------------------------------

function close() {
    for (const f of leave.splice(0)) f();
    for (const box of document.querySelectorAll('dialog')) box.close();
}

function newMain(name) {
    const main = h('main', { id: 'main', 'data-view': name });
    $('main').replaceWith(main);
    return main;
}

function readable(part) {
    try {
        return part ? decodeURIComponent(part) : null;
    } catch {
        return part; // nobody has such an id: the view says so
    }
}

function show(focus) {
    if (!signed) return;
    const [, name, part, query] = HASH.exec(location.hash) ?? [null, 'overview'];
    const base = VIEWS.find((view) => view.name === name), id = readable(part);
    if (!base) return void location.replace('#/overview');
    close();
    const one = id && base.single ? base.single : base;
    const main = newMain(one.name);
    shown = { view: base, title: one.title };
    connection = 'connecting';
    frame();
    one.open({
        main,
        id,
        query: Object.fromEntries(new URLSearchParams(query)),
        overview: () => counts,
        // Shows the view: render() into its main element.
        show: (...nodes) => render(main, ...nodes),
        title: (text) => { shown.title = text; frame(); },
        // told(i, answer, error) for the i-th of at most three targets, now and whenever it changes; the
        // overview is always asked for too, for the counts of the frame. Returns what ends it.
        live: (targets, told) => {
            const i = leave.push(live(['/api/overview', ...targets], (of, answer, error) => {
                if (of > 0) return told(of - 1, answer, error);
                if (answer) counts = answer;
                frame();
                told(-1, answer, error);
            }, (state) => {
                if (connection === state) return;
                connection = state;
                frame();
            })) - 1;
            return leave[i];
        },
        // f every `ms` while the page can be seen.
        every: (ms, f) => {
            const timer = setInterval(() => document.hidden || f(), ms);
            leave.push(() => clearInterval(timer));
        },
        onLeave: (f) => leave.push(f),
        // Keeps the filters in the address, so that it can be sent to someone, without opening anew.
        remember: (values) => {
            const q = new URLSearchParams(Object.entries(values).filter(([, v]) => v));
            history.replaceState(null, '', `#/${name}${part ? `/${part}` : ''}${q.size ? `?${q}` : ''}`);
        },
    });
    scrollTo(0, 0);
    if (focus && !main.contains(document.activeElement)) main.querySelector('h1')?.focus({ preventScroll: true });
}

// ---- signing in -------------------------------------------------------------------------------------

// The address stays, so that one is back where one was after signing in.
function ended() {
    signed = counts = null;
    close();
    frame();
    document.title = 'Sign in · Hookline';
    const main = newMain('sign-in');
    let trouble = null, busy = false;

    async function submit(e) {
        e.preventDefault();
        const secret = e.target.elements.secret.value;
        busy = true;
        draw();
        try {
            signed = await signIn(secret);
            show();
        } catch (error) {
            trouble = error;
            busy = false;
            draw();
            if (error.wait > 0) setTimeout(() => { trouble = null; if (!signed) draw(); }, error.wait * 1000);
            $('secret').select();
        }
    }

    function draw() {
        render(main, h('form', { class: 'sign-in panel', onsubmit: submit },
            h('img', { src: '/dashboard/icon.svg', alt: '', width: '44', height: '44' }),
            h('h1', null, 'Hookline'),
            // For password managers, which keep a secret by a name.
            h('input', { type: 'text', name: 'username', autocomplete: 'username', value: 'hookline', hidden: true }),
            h('label', null, h('span', null, 'API secret'),
                h('input', { id: 'secret', name: 'secret', type: 'password', autocomplete: 'current-password', required: true,
                    'aria-describedby': 'secret-help', 'aria-invalid': trouble ? 'true' : null })),
            h('div', { role: 'alert' }, trouble && h('p', { class: 'bad' }, trouble.message,
                trouble.wait > 0 && ` Try again in ${trouble.wait} s.`)),
            h('button', { id: 'sign-in', type: 'submit', class: 'primary', disabled: busy || trouble?.wait > 0 }, 'Sign in'),
            h('p', { id: 'secret-help', class: 'dim' }, 'The value of ', h('code', null, 'WEBHOOK_API_SECRET'), ', or of ',
                h('code', null, 'WEBHOOK_API_SECRET_READONLY'), ' to look only.')));
    }
    draw();
    $('secret').focus();
}

// ---- keys -------------------------------------------------------------------------------------------

const KEYS = [['g then a letter', `Go to: ${VIEWS.map((v) => `${v.key} ${v.title}`).join(', ')}`], ['/', 'Search'],
    ['j, k', 'Next row, row before'], ['Enter', 'Open the row'], ['?', 'This help'], ['Esc', 'Close, or leave the field']];

function help() {
    if (document.querySelector('dialog')) return;
    dialog('Keys', () => h('dl', { class: 'facts keyboard' }, KEYS.map(([key, what]) =>
        h('div', null, h('dt', null, h('kbd', null, key)), h('dd', null, what)))));
}

let gone = 0; // when `g` was pressed

function search(e) {
    const field = document.querySelector('main [name=search]');
    e.preventDefault();
    if (field) field.select(), field.focus();
    else location.hash = '#/events?focus=search';
}

function open() {
    const row = document.activeElement?.closest?.('tr[data-href]') ?? document.querySelector('.virtual tr.current');
    if (row && !/^(A|BUTTON|SUMMARY)$/.test(document.activeElement.nodeName)) location.hash = row.dataset.href;
}

const PRESSED = { '/': search, j: () => moveRow($('main'), 1), k: () => moveRow($('main'), -1), Enter: open, '?': help };

function pressed(e) {
    if (!signed || e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog')) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.nodeName)) {
        if (e.key === 'Escape') e.target.blur();
        return;
    }
    const view = e.timeStamp - gone < 1500 && VIEWS.find((v) => v.key === e.key);
    gone = 0;
    if (view) location.hash = `#/${view.name}`;
    else if (e.key === 'g') gone = e.timeStamp;
    else if (e.key === 'Escape' && menu) menu = false, frame();
    else PRESSED[e.key]?.(e);
}

function clicked(e) {
    if (e.target.closest('.skip')) { // its address would be that of a view
        e.preventDefault();
        $('main').querySelector('h1, input')?.focus();
        return;
    }
    const row = e.target.closest('tr[data-href]');
    if (!row || e.target.closest('a, button, input, label') || String(getSelection())) return;
    if (e.ctrlKey || e.metaKey) window.open(row.dataset.href);
    else location.hash = row.dataset.href;
}

// ---- start ------------------------------------------------------------------------------------------

async function start() {
    try {
        signed = await resume();
        signed ? show() : ended();
    } catch (error) {
        document.body.dataset.role = 'none';
        render($('main'), h('h1', null, 'Hookline'), fault(error, start));
    }
}

onSignedOut(() => signed && ended());
addEventListener('hashchange', () => show(true));
addEventListener('keydown', pressed);
addEventListener('click', clicked);
start();
