// api: what the page asks the producer: the session, single answers, and answers that go on.

export class ApiError extends Error {
    constructor(status, message, wait) {
        super(message);
        this.status = status;
        this.wait = wait; // seconds until it may be tried again, or NaN
    }
}

let session = null;
let signedOut = () => {};

export const onSignedOut = (f) => { signedOut = f; };

async function ask(method, path, body) {
    const headers = { Accept: 'application/json' };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    if (method !== 'GET' && session) headers['X-CSRF-Token'] = session.csrf;
    let res;
    try {
        res = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body),
            credentials: 'same-origin', cache: 'no-store', signal: AbortSignal.timeout(20000) });
    } catch (e) {
        throw new ApiError(0, e.name === 'TimeoutError' ? 'The producer has not answered within 20 s.'
            : 'The producer cannot be reached. Is it running, and is the network up?');
    }
    const answer = await res.json().catch(() => null);
    if (res.ok) return answer;
    throw new ApiError(res.status, sentence(res.status, answer), Number(res.headers.get('Retry-After') ?? NaN));
}

function sentence(status, answer) {
    const detail = answer?.detail ?? answer?.error;
    if (typeof detail === 'string') return detail.replace(/([^.!?])$/, '$1.');
    if (Array.isArray(detail)) return detail.map((d) => `${(d.loc ?? []).join('.')}: ${d.msg}`).join('; ');
    return `The producer answered ${status}.`;
}

// As ask, but an ended session leads to the sign-in.
async function askSigned(method, path, body) {
    try {
        return await ask(method, path, body);
    } catch (error) {
        if (error.status === 401) {
            session = null;
            signedOut();
        }
        throw error;
    }
}

export const get = (path) => askSigned('GET', path);
export const post = (path, body) => askSigned('POST', path, body);

// "/api/x" and {a: 1, b: ''} => "/api/x?a=1": what is empty is left out.
export function target(path, query = {}) {
    const q = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== '' && v !== null && v !== undefined));
    return q.size ? `${path}?${q}` : path;
}

// ---- session ----------------------------------------------------------------------------------------

async function taken(answer) {
    const found = await answer;
    session = found.role === 'none' ? null : found;
    return session;
}

export const resume = () => taken(ask('GET', '/dashboard/session')); // null: nobody is signed in
export const signIn = (secret) => taken(ask('POST', '/dashboard/session', { secret }));

export async function signOut() {
    await ask('DELETE', '/dashboard/session').catch(() => {});
    session = null;
}

// ---- live -------------------------------------------------------------------------------------------

const POLL_MS = 3000, SILENT_MS = 6000, AGAIN_MS = 30000, HIDDEN_MS = 10000;

// Asks for each of `targets` from now on: told(i, answer) when one has changed, told(i, null, error) when
// one cannot be had; state('live'|'polling'|'offline'). One event stream for all of them; when that fails
// twice (a proxy in between that holds it back counts) they are polled, and the stream is tried again
// later. A page that has been hidden for a while lets its stream go: a browser has six connections to a
// producer, for all of its pages together. Returns a function that ends it.
export function live(targets, told, state) {
    let source = null, timer = null, hiding = null, failures = 0, talked = false, ended = false, asleep = false;
    const url = `/api/live?${targets.map((t) => `of=${encodeURIComponent(t)}`).join('&')}`;

    function wait(ms, f) {
        clearTimeout(timer);
        timer = setTimeout(f, ms);
    }

    function drop() {
        clearTimeout(timer);
        source?.close();
        source = null;
    }

    function failed() {
        drop();
        if (ended) return;
        if (++failures < 2) wait(500, stream);
        else poll(Date.now() + AGAIN_MS);
    }

    function heard(e, tell) {
        const message = JSON.parse(e.data);
        talked = true;
        well();
        tell(message);
    }

    function well() {
        failures = 0;
        clearTimeout(timer);
        state('live');
    }

    // The browser connects again by itself, and says what it has heard last: then silence is fine.
    function broken() {
        if (source.readyState === EventSource.CLOSED || ++failures >= 2) failed();
        else wait(SILENT_MS, failed);
    }

    function stream() {
        drop();
        if (!window.EventSource) return void poll(Infinity);
        source = new EventSource(url);
        source.addEventListener('answer', (e) => heard(e, (m) => told(m.of, m.answer)));
        source.addEventListener('trouble', (e) => heard(e, (m) => {
            if (m.status === 401) check();
            told(m.of ?? 0, null, new ApiError(m.status, sentence(m.status, m)));
        }));
        source.onopen = () => talked && well();
        source.onerror = broken;
        wait(SILENT_MS, failed);
    }

    function check() {
        get(targets[0]).catch(() => {});
    }

    async function poll(until) {
        let reached = false;
        await Promise.all(targets.map(async (t, i) => {
            try {
                const answer = await get(t);
                if (!ended) told(i, answer);
                reached = true;
            } catch (error) {
                reached ||= error.status > 0;
                if (!ended) told(i, null, error);
            }
        }));
        if (ended || asleep || source) return;
        state(reached ? 'polling' : 'offline');
        wait(POLL_MS, () => Date.now() > until ? (failures = 1, stream()) : poll(until));
    }

    function seen() {
        clearTimeout(hiding);
        if (document.hidden) hiding = setTimeout(() => { asleep = true; drop(); }, HIDDEN_MS);
        else if (asleep || !source) begin();
    }

    function begin() {
        asleep = false;
        failures = 0;
        stream();
    }

    document.addEventListener('visibilitychange', seen);
    addEventListener('online', seen);
    begin();
    return () => {
        ended = true;
        clearTimeout(hiding);
        drop();
        document.removeEventListener('visibilitychange', seen);
        removeEventListener('online', seen);
    };
}
