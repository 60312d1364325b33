// One event: what happened to this page.
import { get, post, target } from './api.js';
import { action, ago, attempt, badge, button, duration, exact, facts, fault, h, heading, link, panel, plural } from './ui.js';
import { idOf } from './view_events.js';

const WORDS = { received: 'Received', accepted: 'Accepted', claimed: 'Taken by a worker', 'claimed last': 'Taken by a worker', retried: 'Will be tried again', next_attempt: 'Next attempt',
    completed: 'Completed', failed: 'Failed', superseded: 'Superseded by a later fetch', crashed: 'The worker crashed',
    'dead letter': 'Kept as a dead letter', 'document written': 'Document indexed', acknowledged: 'Done with in Redis', 'queue/wait': 'Waited in the queue',
    'webhook/change': 'Webhook answered', 'rescrape/claim': 'Claimed', 'rescrape/scrape': 'Scraped', 'rescrape/index': 'Indexed', 'rescrape/complete': 'Written down' };
const GOOD = new Set(['completed']), BAD = new Set(['failed', 'crashed', 'dead letter']);

function mood(m) {
    if (m.success === false || BAD.has(m.what)) return 'bad';
    return m.success || GOOD.has(m.what) ? 'good' : 'plain';
}

// Each moment with a bar of how long it took, by the longest of them.
function timeline(moments) {
    const longest = Math.max(1, ...moments.map((m) => m.duration_ms ?? 0));
    return h('ol', { class: 'timeline' }, moments.map((m, i) => h('li', { key: i, 'data-mood': mood(m), 'data-what': m.what },
        h('div', { class: 'when' }, exactClock(m.at), i > 0 && m.at && h('small', null, gap(moments[i - 1].at, m.at))),
        h('div', { class: 'what' },
            h('b', null, WORDS[m.what] ?? m.what.replaceAll('_', ' ').replace('/', ': ')),
            m.http_status ? h('span', { class: 'tag' }, `HTTP ${m.http_status}`) : null,
            m.success === false ? h('span', { class: 'tag bad' }, 'failed') : null,
            m.duration_ms !== null && m.duration_ms !== undefined && h('span', { class: 'took' },
                h('i', { css: { width: `${Math.max(2, m.duration_ms / longest * 120)}px` } }), duration(m.duration_ms)),
            m.detail && h('p', null, m.detail),
            h('small', { class: 'dim' }, [m.place, m.by, m.epoch !== null && m.epoch !== undefined && `epoch ${m.epoch}`].filter(Boolean).join(' · '))))));
}

const hole = (x) => typeof x === 'string' ? x : Object.values(x).filter(Boolean).join(': ');

function exactClock(at) {
    if (!at) return '–';
    const date = new Date(at);
    const text = date.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hour12: false });
    return h('time', { datetime: at, title: date.toLocaleString() }, text);
}

function gap(before, now) {
    const ms = new Date(now) - new Date(before);
    return ms > 0 ? `+${duration(ms)}` : '';
}

function document_(answer, trouble) {
    if (trouble) return fault(trouble);
    const d = answer?.document;
    if (!d) return h('p', { class: 'dim pad' }, answer ? 'No document is indexed for this page. There is one when an event of it has completed.' : 'Loading…');
    return [facts([['Title', d.title], ['Address', link(d.canonical_url ?? d.url)], ['About', d.description], ['Language', d.language],
        ['Scraped', ago(d.scraped_at)], ['Content hash', d.content_hash && h('code', null, d.content_hash)]]),
    h('details', { class: 'pad' }, h('summary', null, `Text, ${plural(d.text?.length ?? 0, 'character')}${d.truncated ? ' (cut)' : ''}`),
        h('pre', null, d.text ?? ''))];
}

function copy(text) {
    return button('copy', 'Copy', () => attempt(() => navigator.clipboard.writeText(text), 'Copied.'), { class: 'plain small' });
}

function open(page) {
    const path = `/api/events/${encodeURIComponent(page.id)}`;
    let event = null, trace = null, troubles = {}, doc = null, docTrouble = null, docFor = null, busy = false;

    async function loadDocument() {
        docFor = event.status;
        try {
            doc = await get(target('/api/documents', { event: idOf(event) }));
            docTrouble = null;
        } catch (error) {
            docTrouble = error;
        }
        draw();
    }

    async function retry() {
        busy = true;
        draw();
        await attempt(() => post(`${path}/retry`), 'Put back: it is tried again.');
        busy = false;
        draw();
    }

    function head() {
        const failed = event?.status?.startsWith('failed');
        return heading(event ? event.watch_url : `Event ${page.id}`,
            event && badge(event.status), failed && action('retry', 'Retry', retry, { class: 'primary', disabled: busy }));
    }

    function about() {
        const e = event;
        return panel('Event', null, facts([['Page', [link(e.watch_url), h('a', { href: `#/events?search=${encodeURIComponent(e.watch_url)}` }, 'All events of this page')]], ['Id', e.event_id && [h('code', null, e.event_id), ' ', copy(e.event_id)]], ['Row', String(e.change_event_id)],
            ['Watch', e.watch_id],
            ['Detected', exact(e.detected_at)], ['Received', [exact(e.created_at), ' (', ago(e.created_at), ')']],
            ['Failures', e.attempts || e.starts > 1 ? plural(e.attempts, 'attempt') + (e.starts ? `, ${plural(e.starts, 'claim')} since` : '') : null],
            ['Next attempt', e.next_attempt_at && !e.finished_at ? ago(e.next_attempt_at) : null],
            ['Taken', e.claimed_at && [ago(e.claimed_at), e.claimed_by ? ` by ${e.claimed_by}` : '', e.claim_epoch ? `, epoch ${e.claim_epoch}` : '']],
            ['Suspect', e.suspect ? `${plural(e.suspect, 'worker')} died while it had this event` : null],
            ['Finished', e.finished_at && [exact(e.finished_at), ` (after ${duration(new Date(e.finished_at) - new Date(e.created_at))})`]],
            ['Indexed', e.indexed_at && exact(e.indexed_at)]]));
    }

    function payload() {
        const e = event;
        const json = e.metadata && JSON.stringify(e.metadata, null, 2);
        return panel('Payload', json && copy(json), facts([['Change', e.diff_summary && h('pre', null, e.diff_summary)], ['Snapshot', e.snapshot_url && link(e.snapshot_url)]]),
            json ? h('pre', { class: 'json', tabindex: '0', 'aria-label': 'Metadata' }, json) : h('p', { class: 'dim pad' }, 'It came without metadata.'));
    }

    function draw() {
        const reason = event && (event.error ?? (event.status?.startsWith('failed: ') ? event.status.slice(8) : null));
        page.show(h('p', { class: 'crumbs' }, h('a', { href: '#/events' }, 'Events'), ' / ', h('code', null, page.id)), head(),
            troubles[0] && fault(troubles[0]),
            reason && h('div', { class: 'alert', 'data-level': event.status.startsWith('failed') ? 'error' : 'warn' },
                h('i', { 'aria-hidden': 'true' }, '✕'), h('span', null, event.status.startsWith('failed') ? reason : ['Last attempt: ', reason])),
            event && h('div', { class: 'split' },
                h('div', null, panel('Timeline', null, troubles[1] ? fault(troubles[1]) : trace
                    ? [timeline(trace.trace), trace.not_asked?.length ? h('p', { class: 'dim pad' }, `Not asked, so there may be more: ${trace.not_asked.map(hole).join('; ')}`) : null] : event.timeline ? timeline(event.timeline) : null)),
                h('div', null, about(), payload(), panel('Document', null, document_(doc, docTrouble)))),
            !event && !troubles[0] && h('p', { class: 'dim' }, 'Loading…'));
    }

    draw();
    page.live([path, `${path}/trace`], (i, answer, error) => {
        if (i < 0) return;
        troubles[i] = error;
        if (i === 0 && answer) event = answer, page.title(answer.watch_url);
        if (i === 1 && answer) trace = answer;
        if (event && docFor !== event.status) loadDocument();
        draw();
    });
}

export default { name: 'event', title: 'Event', open };
