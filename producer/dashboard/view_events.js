// Events: what came in and how it stands; any number of them, the newest live.
import { get, target } from './api.js';
import { VirtualList, ago, badge, chosen, empty, fault, h, heading, later, number, select } from './ui.js';

const STATUSES = [['', 'any'], ['queued', 'queued'], ['in_progress', 'in progress'], ['completed', 'completed'],
    ['superseded', 'superseded'], ['failed', 'failed']];
const SINCE = [['', 'ever'], ['15', '15 minutes'], ['60', '1 hour'], ['1440', '24 hours'], ['10080', '7 days']];
const PAGE = 250, AGAIN_MS = 3000;

export const idOf = (e) => e.event_id ?? String(e.change_event_id);

const COLS = [
    { head: 'Status', class: 'status', cell: (e) => badge(e.status) },
    { head: 'Page', class: 'grow', cell: (e) => h('span', { class: 'cut', title: e.watch_url }, e.watch_url) },
    { head: 'Received', class: 'n age', cell: (e) => ago(e.created_at) },
    { head: 'Failures', class: 'n', cell: (e) => e.attempts || '' },
    { head: 'Next try', class: 'n age wide', cell: (e) => e.next_attempt_at && !e.finished_at ? ago(e.next_attempt_at) : '' },
    { head: 'Error', class: 'error', cell: (e) => h('span', { class: 'cut', title: e.error }, e.error ?? '') },
];

// The newest page, as it is now, over what was known: what it reaches is as it says, the rest as it was.
export function join(news, known) {
    const last = news.events.at(-1);
    if (!news.next || !last) return news.events;
    const at = known.findIndex((e) => e.change_event_id === last.change_event_id);
    return at < 0 ? null : [...news.events, ...known.slice(at + 1)];
}

const unfinished = (e) => e.status === 'queued' || e.status === 'in_progress';

// The rows from `first` to `last` as a new answer has them: it begins below the row before `first`. A full one
// may not reach the last of them.
export function replaced(rows, first, last, answer) {
    const end = answer.next ? answer.events.at(-1)?.change_event_id ?? Infinity : 0;
    const low = Math.max(end, rows[last].change_event_id);
    return [...rows.slice(0, first), ...answer.events.filter((e) => e.change_event_id >= low),
        ...rows.slice(first).filter((e) => e.change_event_id < low)];
}

function open(page) {
    const filter = { status: chosen(STATUSES, page.query.status, ''), search: page.query.search ?? '', since: chosen(SINCE, page.query.since, '') };
    let rows = [], next = null, trouble = null, stop = () => {}, loading = false, known = false, turn = 0, fresh = 0;
    const list = new VirtualList({ caption: 'Events, the newest first', cols: COLS, key: idOf, href: (e) => `#/events/${encodeURIComponent(idOf(e))}`, more });
    page.onLeave(() => list.release());

    function asked() {
        const since = filter.since ? new Date(Date.now() - filter.since * 60000).toISOString() : '';
        return { status: filter.status, search: filter.search.trim(), since };
    }
    let query = asked();

    async function more() {
        if (!next || loading) return;
        loading = true;
        const mine = turn;
        try {
            const answer = await get(target('/api/events', { ...query, limit: PAGE, after: next }));
            if (mine !== turn) return;
            rows = [...rows, ...answer.events];
            next = answer.next;
            trouble = null;
        } catch (error) {
            if (mine === turn) trouble = error;
        }
        if (mine !== turn) return;
        loading = false;
        draw();
    }

    // The stream tells of the newest; what is in sight further down, and not finished, is asked for again.
    async function again() {
        const [from, to] = list.inSight(), mine = turn, had = rows;
        const at = (i) => i >= fresh && i < to && unfinished(rows[i]);
        const first = rows.findIndex((_, i) => i >= from && at(i)), last = rows.findLastIndex((_, i) => at(i));
        if (first < 1 || loading) return;
        const answer = await get(target('/api/events', { ...query, limit: last - first + 1, after: rows[first - 1].change_event_id })).catch(() => null);
        if (!answer || mine !== turn || rows !== had) return;
        rows = replaced(rows, first, last, answer);
        draw();
    }

    function heard(i, answer, error) {
        if (i < 0) return;
        known = true;
        trouble = error ?? null;
        if (answer) {
            const joined = join(answer, rows);
            // So much is new that there is a hole: from the top again, and what is under way came from below it.
            if (!joined) turn++, loading = false;
            rows = joined ?? answer.events;
            fresh = answer.events.length;
            if (rows.length === answer.events.length) next = answer.next;
        }
        draw();
    }

    function start() {
        stop();
        turn++;
        query = asked();
        loading = false;
        stop = page.live([target('/api/events', { ...query, limit: 100 })], heard);
    }

    function change(name, value) {
        if (filter[name] === value) return;
        filter[name] = value;
        page.remember(filter);
        rows = [];
        next = null;
        known = false;
        list.el.scrollTop = 0;
        draw();
        start();
    }
    const searched = later(250, (value) => change('search', value));

    function nothing() {
        return query.status || query.search || query.since
            ? empty('No event is like that', 'Take away a part of the filter. A search finds a part of the address, or an id.')
            : empty('No events yet', 'Point a changedetection.io notification at this producer, or send one yourself:',
                h('code', null, 'hooklinectl send --url https://example.com/'),
                h('code', null, 'curl -X POST …/api/webhook/changedetection'));
    }

    function draw() {
        page.show(heading('Events', h('span', { class: 'dim' }, known ? `${number(rows.length)}${next ? '+' : ''} shown` : 'Loading…')),
            h('div', { class: 'filters', role: 'search' },
                select('status', 'Status', filter.status, STATUSES, (v) => change('status', v)),
                h('label', { class: 'grow' }, h('span', null, 'Search'), h('input', { type: 'search', name: 'search', value: filter.search,
                    placeholder: 'Part of the address, or an id', autocomplete: 'off', spellcheck: 'false',
                    oninput: (e) => searched(e.target.value), onchange: (e) => change('search', e.target.value) })),
                select('since', 'Since', filter.since, SINCE, (v) => change('since', v))),
            trouble && fault(trouble, () => { trouble = null; rows.length ? more() : start(); }),
            known && !rows.length && !trouble ? nothing() : null,
            h('div', { class: 'holder', hidden: !rows.length }, list.el));
        list.set(rows);
    }

    draw();
    start();
    page.every(AGAIN_MS, again);
    if (page.query.focus === 'search') page.main.querySelector('[name=search]').focus();
}

export default { name: 'events', title: 'Events', key: 'e', icon: 'M2 4h2M6.5 4H14M2 8h2M6.5 8H14M2 12h2M6.5 12H14', open };
