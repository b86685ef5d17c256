/*
Keeps an admitted visitor's session alive while the visitor is there, says when it is about to end, and tells the gate
when the tab is closed. For the site itself:

  <script src="/.well-known/waiting-room/client.js" defer></script>

  data-prefix        where the gate answers; by default the folder that this script came from
  data-tenant        the tenant, where several share a host and this is not the one of its root path
  data-warn-seconds  how long before the end the visitor is warned; 60 by default
  data-text-...      own words: data-text-ends, -final, -stay, -close, -ended, -reload, -region ("{time}" in the first two)

waitingRoom.leave() ends the session at once, for a "log out" of the site.
*/
"use strict";
(() => {
  if (window.waitingRoom) return;
  const catalogues = "the catalogues stand here";
  const script = document.currentScript;
  const options = script ? script.dataset : {};
  const prefix = options.prefix || (script && script.src ? new URL(".", script.src).pathname : "/.well-known/waiting-room/");
  const tenant = options.tenant ? `tenant=${encodeURIComponent(options.tenant)}` : "";
  const language = document.documentElement.lang || "en";
  const texts = catalogues[language] || catalogues[language.split("-")[0]] || catalogues.en;

  const WARN_MS = 1000 * (Number(options.warnSeconds) || 60);
  const FIRST_MS = 1000; // the closing beacon of the page before may still be on its way: the first ping must come after it
  const RETRY_MS = 10000;
  const DEPARTURE_MS = 60000; // how long a link, a form or a script that set off may take to reach the next page
  const GRACE_MS = 2000; // a question before the session is over would renew it, and ends are told in whole seconds
  const LONGEST_TIMER_MS = 2 ** 31 - 1;

  let endsAt = Infinity;
  let intervalMs = 60000;
  let askedAt = 0;
  let pingTimer = 0;
  let watchTimer = 0;
  let admitted = false; // a page that the gate exempts is shown to visitors without a session too
  let over = false; // no session any more: nothing to keep, nothing to free
  let dismissed = false;
  let longestMs = 0; // the most that a session was ever said to have left
  let checkedAt = 0;
  let departure = 0; // until when the page is on its way to somewhere else

  // --- the session ------------------------------------------------------------------------------------------------

  function address(endpoint, query = "") {
    const all = [tenant, query].filter(Boolean).join("&");
    return prefix + endpoint + (all && `?${all}`);
  }

  const tabs = "BroadcastChannel" in window ? new BroadcastChannel(`waiting-room ${prefix}`) : null;

  async function ask(method, endpoint) {
    const answer = await fetch(address(endpoint), {
      method,
      headers: { Accept: "application/json" },
      cache: "no-store",
      credentials: "same-origin",
    });
    const room = (await answer.json()).waitingRoom;
    if (over) return;
    if (room.state === "admitted") {
      admitted = true;
      intervalMs = 1000 * Math.max(1, room.keepaliveIntervalSeconds || 60);
      setEnd(typeof room.sessionEndsInSeconds === "number" ? Date.now() + 1000 * room.sessionEndsInSeconds : Infinity);
      if (tabs) tabs.postMessage({ endsAt });
    } else if (!["recovering", "store_down", "limited"].includes(room.state)) {
      end();
    }
  }

  function ping() {
    clearTimeout(pingTimer);
    pingTimer = 0;
    askedAt = Date.now();
    return ask("POST", "keepalive").catch(() => pingIn(Math.max(intervalMs, RETRY_MS)));
  }

  function pingIn(milliseconds) {
    if (!pingTimer && !over) pingTimer = setTimeout(ping, milliseconds);
  }

  // What the visitor does is passed on once an interval, the first and the last of it included.
  function active() {
    if (!document.hidden) pingIn(Math.max(0, askedAt + intervalMs - Date.now()));
  }

  function setEnd(moment) {
    endsAt = moment;
    longestMs = Math.max(longestMs, endsAt - Date.now());
    if (endsAt - Date.now() > warnMs()) {
      dismissed = false;
      hide();
    }
    watch();
  }

  // A warning that began with the session itself would warn of nothing.
  const warnMs = () => Math.min(WARN_MS, longestMs / 2);

  function watch() {
    clearTimeout(watchTimer);
    if (over) return;
    const leftMs = endsAt - Date.now();
    if (leftMs > warnMs()) {
      if (leftMs < Infinity) watchTimer = setTimeout(watch, Math.min(leftMs - warnMs(), LONGEST_TIMER_MS));
    } else if (leftMs > -GRACE_MS) {
      if (!dismissed) warn(Math.max(0, leftMs));
      watchTimer = setTimeout(watch, (leftMs % 1000) + (leftMs > 0 ? 10 : 1010));
    } else {
      watchTimer = setTimeout(watch, RETRY_MS);
      if (Date.now() - checkedAt < RETRY_MS) return;
      // Another page of the visitor may have renewed it: the gate has the last word.
      checkedAt = Date.now();
      ask("GET", "status").catch(() => {});
    }
  }

  function stop() {
    over = true;
    clearTimeout(pingTimer);
    clearTimeout(watchTimer);
  }

  function end() {
    stop();
    if (admitted) show("ended", word("ended"));
  }

  function leave() {
    stop();
    hide();
    return fetch(address("leave"), { method: "POST", credentials: "same-origin", keepalive: true });
  }

  // --- the banner -------------------------------------------------------------------------------------------------

  const STYLE = `
    :host { all: initial; }
    section { position: fixed; inset: auto 1rem 1rem; z-index: 2147483647; max-width: 34rem; margin: 0 auto;
      box-sizing: border-box; padding: 0.875rem 1.125rem; display: flex; flex-wrap: wrap; align-items: center; gap: 0.75rem;
      border: 1px solid #c9bfb4; border-radius: 0.75rem; background: #fff; color: #221c19;
      box-shadow: 0 10px 40px rgb(0 0 0 / 25%); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
    p { flex: 1 1 14rem; margin: 0; font-variant-numeric: tabular-nums; }
    button, a { min-height: 2.75rem; box-sizing: border-box; padding: 0.5rem 1.125rem; border: 1px solid #8c1d40;
      border-radius: 0.625rem; background: #8c1d40; color: #fff; font: inherit; font-weight: 600; text-decoration: none;
      cursor: pointer; }
    .close { border-color: #8b8078; background: transparent; color: inherit; }
    :focus-visible { outline: 3px solid #8c1d40; outline-offset: 2px; }
    .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    [hidden] { display: none; }
    @media (prefers-color-scheme: dark) {
      section { border-color: #4b423c; background: #1f1b19; color: #f4eee8; }
      button, a { border-color: #f08aa8; background: #f08aa8; color: #2a0a15; }
      .close { border-color: #8b8078; background: transparent; color: inherit; }
      :focus-visible { outline-color: #f08aa8; }
    }`;

  let host = null;
  let parts = null;

  const word = (name) => options[`text${name[0].toUpperCase()}${name.slice(1)}`] || texts[name];

  function time(milliseconds) {
    const seconds = Math.ceil(milliseconds / 1000);
    const [unit, count] = seconds > 90 ? ["minutes", Math.ceil(seconds / 60)] : ["seconds", seconds];
    const forms = texts[unit];
    return (forms[new Intl.PluralRules(language).select(count)] || forms.other).replace("{count}", count);
  }

  function make(tag, className, text, parent) {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    return parent.appendChild(element);
  }

  function build() {
    host = document.createElement("waiting-room-session");
    const shadow = host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet(); // no style element: the site's content security policy need not allow one
    sheet.replaceSync(STYLE);
    shadow.adoptedStyleSheets = [sheet];
    const section = make("section", "", "", shadow);
    section.setAttribute("aria-label", word("region"));
    const said = make("div", "unseen", "", section);
    said.setAttribute("role", "alert");
    parts = { shown: "", said, message: make("p", "", "", section) };
    parts.stay = make("button", "stay", word("stay"), section);
    parts.reload = make("a", "reload", word("reload"), section);
    parts.close = make("button", "close", word("close"), section);
    parts.stay.type = parts.close.type = "button";
    parts.stay.addEventListener("click", stay);
    parts.close.addEventListener("click", () => {
      dismissed = true;
      hide();
    });
  }

  // The countdown would interrupt a screen reader each second: only what is new about it is spoken.
  function show(kind, message) {
    if (!host) build();
    if (!host.isConnected) document.body.append(host);
    parts.message.textContent = message;
    if (parts.shown === kind) return;
    parts.shown = kind;
    parts.said.textContent = message;
    parts.stay.hidden = kind !== "ends";
    parts.reload.hidden = kind !== "ended";
    parts.reload.href = location.pathname + location.search;
  }

  function hide() {
    if (!host) return;
    parts.shown = "";
    host.remove();
  }

  function warn(leftMs) {
    const kind = parts && parts.shown === "final" ? "final" : "ends";
    show(kind, word(kind).replace("{time}", time(leftMs)));
  }

  async function stay() {
    await ping();
    const leftMs = endsAt - Date.now();
    if (!over && leftMs < warnMs()) show("final", word("final").replace("{time}", time(Math.max(0, leftMs))));
  }

  // --- closing the tab --------------------------------------------------------------------------------------------

  // The page itself has set off for another one: whoever goes to pay elsewhere comes back to the same slot.
  function depart(event) {
    const until = Date.now() + DEPARTURE_MS;
    departure = until;
    setTimeout(() => {
      if (event.defaultPrevented && departure === until) departure = 0;
    });
  }

  const leavesTab = (target) => Boolean(target) && !/^_(self|top|parent)$/i.test(target);

  addEventListener(
    "click",
    (event) => {
      const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement || node instanceof HTMLAreaElement);
      if (!link || !/^https?:$/.test(link.protocol) || leavesTab(link.target) || link.hasAttribute("download")) return;
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      if (link.hash && link.href.split("#")[0] === location.href.split("#")[0]) return;
      depart(event);
    },
    true,
  );
  addEventListener(
    "submit",
    (event) => {
      const target = (event.submitter && event.submitter.getAttribute("formtarget")) || event.target.getAttribute("target");
      if (!leavesTab(target) && event.target.getAttribute("method") !== "dialog") depart(event);
    },
    true,
  );
  addEventListener(
    "keydown",
    (event) => {
      if (event.key === "F5" || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "r")) depart(event);
    },
    true,
  );
  // Scripts that set off by themselves are seen where the browser has the Navigation API.
  if (window.navigation) {
    navigation.addEventListener("navigate", (event) => {
      const { sameDocument, url } = event.destination;
      if (!sameDocument && event.downloadRequest === null && /^https?:/.test(url)) depart(event);
    });
    navigation.addEventListener("navigatesuccess", () => {
      departure = 0;
    });
  }

  addEventListener("pagehide", (event) => {
    // A page that the browser keeps may come back without asking the gate, so it has not left; a frame is not a tab.
    if (over || event.persisted || Date.now() < departure || document.prerendering || window.parent !== window) return;
    navigator.sendBeacon(address("leave", "beacon=1"));
    if (tabs) tabs.postMessage({ closed: true });
  });
  addEventListener("pageshow", (event) => {
    departure = 0;
    if (event.persisted && !over) ping();
  });

  if (tabs) {
    tabs.addEventListener("message", ({ data }) => {
      if (over) return;
      // The beacon of a closed tab shortens the session for all of them: one that is still open takes it back.
      if (data.closed) setTimeout(ping, FIRST_MS);
      else if (data.endsAt > endsAt) setEnd(data.endsAt);
    });
  }

  // --- start ------------------------------------------------------------------------------------------------------

  for (const name of ["pointerdown", "pointermove", "keydown", "wheel", "scroll"]) {
    addEventListener(name, active, { capture: true, passive: true });
  }
  document.addEventListener("visibilitychange", () => {
    active();
    watch();
  });
  pingIn(FIRST_MS);
  window.waitingRoom = Object.freeze({ leave });
})();
