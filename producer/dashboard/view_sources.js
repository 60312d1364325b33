// Sources: what came in, and what was turned away and why.
import { target } from './api.js';
import { ago, badge, button, chosen, dialog, empty, exact, facts, fault, h, heading, number, panel, segments, table } from './ui.js';

const RANGES = [[1, '1 h'], [24, '24 h'], [168, '7 d']];
const TITLES = { change: 'Change notifications', crawl: 'Firecrawl' };
const WHERE = { change: '/api/webhook/changedetection', crawl: '/api/webhook/firecrawl' };

function source(s) {
    const all = s.accepted + s.duplicate + s.refused;
    const reasons = Object.entries(s.reasons ?? {}).sort((a, b) => b[1] - a[1]);
    const most = Math.max(1, ...reasons.map(([, n]) => n));
    return h('section', { class: 'panel', key: s.name, 'data-source': s.name, 'aria-label': TITLES[s.name] ?? s.name },
        h('div', { class: 'head' }, h('h2', null, TITLES[s.name] ?? s.name), h('code', { class: 'dim' }, WHERE[s.name])),
        h('div', { class: 'trio' }, [['accepted', s.accepted], ['duplicate', s.duplicate], ['refused', s.refused]].map(([name, n]) =>
            h('div', { 'data-level': name === 'refused' && n ? 'error' : null }, h('span', null, name), h('strong', null, number(n)),
                h('small', { class: 'dim' }, all ? `${(n / all * 100).toFixed(1)} %` : '–')))),
        reasons.length ? h('ul', { class: 'reasons' }, reasons.map(([name, n]) => h('li', { key: name }, h('span', null, name.replaceAll('_', ' ')),
            h('i', { css: { width: `${n / most * 100}%` } }), h('b', null, number(n))))) : h('p', { class: 'dim pad' }, all ? 'Nothing was refused.' : 'Nothing came in.'),
        s.last_refused && h('p', { class: 'dim pad' }, 'Last refused in the hour from ', exact(s.last_refused)));
}

function look(r) {
    dialog(`Refused: ${r.reason}`, () => [facts([['Came', ago(r.at)], ['Request', `${r.method} ${r.path}${r.query ? `?${r.query}` : ''}`], ['From', r.peer], ['Answered', String(r.status)],
        ['Request id', r.request_id], ['Signed', r.authenticated ? 'yes' : 'no']]),
    h('h3', null, 'Headers'), h('pre', null, Object.entries(r.headers ?? {}).map(([k, v]) => `${k}: ${v}`).join('\n')),
    h('h3', null, `Body, ${number(r.body_bytes)} bytes`), h('pre', null, r.body)]);
}

const COLS = [
    { head: 'When', cell: (r) => ago(r.at) },
    { head: 'Source', cell: (r) => r.source },
    { head: 'Answer', cell: (r) => badge('failed', String(r.status)) },
    { head: 'Reason', class: 'grow', cell: (r) => h('span', { class: 'cut', title: r.reason }, r.reason) },
    { head: 'From', cell: (r) => r.peer ?? '–' },
    { head: '', class: 'do', cell: (r) => button('reject', 'Look', () => look(r)) },
];

function open(page) {
    let hours = chosen(RANGES, page.query.hours, 24), answer = null, rejects = null, troubles = [], stop = () => {};

    function start() {
        stop();
        stop = page.live([target('/api/sources', { hours }), '/api/rejects?limit=20'], (i, news, error) => {
            if (i < 0) return;
            troubles[i] = error;
            if (i === 0) answer = news ?? answer;
            else rejects = news ?? rejects;
            draw();
        });
    }

    function draw() {
        page.show(heading('Sources', segments('Range', hours, RANGES, (n) => { hours = n; page.remember({ hours }); draw(); start(); })),
            troubles.filter(Boolean).map((error) => fault(error)),
            answer && h('div', { class: 'halves' }, answer.sources.map(source)),
            rejects && (rejects.rejects.length ? panel('Last refused', h('span', { class: 'dim' }, 'kept for you: senders do not repeat'),
                table({ caption: 'Webhooks that were refused, the newest first', cols: COLS, rows: rejects.rejects, key: (r) => r.id }))
                : empty('Nothing that was refused is kept', 'Wrong signatures, unreadable bodies and the like are kept here with their bodies, to be sent again once repaired.')));
    }

    draw();
    start();
}

export default { name: 'sources', title: 'Sources', key: 's', icon: 'M8 2v8M4.5 7 8 10.5 11.5 7M2.5 11v2.5h11V11', open };
