// The token, the session it is exchanged for, and requests to the page's own server.

// A link may carry the token behind #: that part of an address is never sent to a server.
export async function logInFromAddress() {
  const match = /^#token=([0-9a-f]+)$/.exec(location.hash);
  if (!match) return false;
  history.replaceState(null, "", location.pathname);
  return (await logIn(match[1])) === "";
}

// Returns an error text, or "" once the session is open.
export async function logIn(token) {
  try {
    await post("/login", { token });
    return "";
  } catch (error) {
    return error.message;
  }
}

export async function post(path, body) {
  return answerOf(await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body ?? {}),
  }));
}

export async function get(path) {
  return answerOf(await fetch(path));
}

async function answerOf(response) {
  const isJson = (response.headers.get("content-type") ?? "").startsWith("application/json");
  const answer = isJson ? await response.json() : await response.text();
  if (!response.ok) {
    const error = new Error(isJson ? answer.error : `error ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return answer;
}

// Server-sent events that survive a restart of the server and answers other than 200.
// `handlers` has a function for each event; `path` gives the address for a new connection.
export function follow(path, handlers, onState) {
  let source = null;
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    source?.close();
  };
  const open = () => {
    close();
    source = new EventSource(path());
    source.onopen = () => onState("open");
    source.onerror = () => {
      onState("lost");
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, 2000);
    };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data), event.lastEventId));
    }
  };
  open();
  return { restart: open, close };
}
