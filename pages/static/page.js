// Keeps a waiting visitor informed: asks the gate for the visitor's place as often as the gate allows, shows the answer,
// and asks for the same URL again when the turn has come. Without it the page works too: it refreshes itself.
"use strict";
(() => {
  const room = document.getElementById("room");
  const words = JSON.parse(document.getElementById("words").textContent);
  const field = (name) => document.querySelector(`[data-field=${name}]`);
  const { statusUrl } = room.dataset;
  const tenant = field("tenant").textContent;
  const states = room.dataset.states.split(" ");
  const language = document.documentElement.lang;

  const FLOOR_MS = 1000; // never two questions within this time, whatever the answers say
  const HEARTBEAT_MS = 1000 * room.dataset.heartbeat;
  const LONGEST_WAIT_MS = Math.max(60000, HEARTBEAT_MS); // between two tries while the gate cannot be reached
  const PATIENCE_MS = 10000; // for one answer
  const QUIET_MS = 30000; // between two announcements of a moving position
  const REMEMBERED_MS = 900000; // after that a remembered position says nothing about today's line
  const LOOP_MS = 120000; // two entries within this time mean that an entry led back to this page

  let timer = 0;
  let counting = 0;
  let asking = false;
  let askedAt = 0;
  let nextMs = 1000 * room.dataset.refresh;
  let failures = 0;
  let unconfirmed = 0;
  let announcedAt = Date.now();
  let noted = ["unconfirmed", "recovering"].includes(room.dataset.state) ? room.dataset.state : "";

  // --- what outlives a reload of this tab -------------------------------------------------------------------------

  const kept = {};
  const key = (name) => `waiting-room ${name} ${statusUrl} ${tenant}`;

  function recall(name) {
    try {
      return JSON.parse(sessionStorage.getItem(key(name)));
    } catch {
      return kept[name] || null;
    }
  }

  function remember(name, value) {
    kept[name] = value;
    try {
      sessionStorage.setItem(key(name), JSON.stringify(value));
    } catch {
      // Storage may be forbidden or full: this page then remembers for as long as it is open.
    }
  }

  // --- words ------------------------------------------------------------------------------------------------------

  const plurals = new Intl.PluralRules(language);
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const number = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, room.dataset.thousands);
  const plural = (name, count) => fill(words[name][plurals.select(count)] || words[name].other, { count: number(count) });

  function duration(seconds) {
    const minutes = Math.max(1, Math.ceil(seconds / 60));
    if (minutes < 60) return plural("minutes", minutes);
    const rounded = Math.ceil(minutes / 5) * 5;
    const hours = plural("hours", Math.floor(rounded / 60));
    return rounded % 60 ? fill(words.hours_minutes, { hours, minutes: plural("minutes", rounded % 60) }) : hours;
  }

  function wait(range) {
    if (!range) return words.wait_unknown;
    if (range.high < 60) return words.wait_short;
    const low = duration(range.low);
    const high = duration(range.high);
    if (low === high) return fill(words.wait_about, { duration: high });
    if (range.low < 60) return fill(words.wait_up_to, { duration: high });
    if (range.high > 59 * 60) return fill(words.wait_range, { low, high });
    const minutes = (seconds) => number(Math.ceil(seconds / 60));
    return fill(words.wait_minutes, { low: minutes(range.low), high: minutes(range.high) });
  }

  // --- what is shown ----------------------------------------------------------------------------------------------

  function write(name, text) {
    const element = field(name);
    if (element && element.textContent !== text) element.textContent = text;
  }

  function announce(text) {
    announcedAt = Date.now();
    write("announcement", text);
  }

  // Shows the one note of that name, or none (""); a note that appears is also spoken.
  function note(name) {
    if (name === noted) return;
    noted = name;
    announce("");
    for (const element of document.querySelectorAll("[data-note]")) {
      element.hidden = element.dataset.note !== name;
      if (!element.hidden) announce(element.textContent);
    }
  }

  function showTime(moment) {
    const element = field("updated");
    const time = new Date(moment);
    if (!element || Number.isNaN(time.getTime())) return;
    element.dateTime = time.toISOString();
    write("updated", time.toLocaleTimeString()); // as the visitor is used to read it, whatever the page speaks
  }

  function showPosition(position, ahead) {
    write("position", number(position));
    write("ahead", ahead ? plural("ahead", ahead) : words.next_in_line);
    document.title = `${fill(words.title, { position: number(position) })} · ${tenant}`;
  }

  // The way made so far, counted from the first position that this tab saw.
  function showProgress(position) {
    const element = field("progress");
    if (!element) return;
    const last = recall("place");
    const known = last && Date.now() - last.at < REMEMBERED_MS ? last.start : position;
    const start = Math.max(known, position);
    element.max = start;
    element.value = start - position;
    element.hidden = false;
    remember("place", { start, position, at: Date.now() });
  }

  // Counts down by the time that has passed here since the answer, whatever the visitor's clock says.
  function countDown(seconds) {
    const element = field("countdown");
    if (!element || typeof seconds !== "number") return;
    const end = performance.now() + 1000 * seconds;
    clearTimeout(counting);
    const tick = () => {
      const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      const pad = (value) => String(value).padStart(2, "0");
      const [hours, minutes] = [Math.floor(left / 3600), Math.floor(left / 60) % 60];
      const clock = hours ? `${hours}:${pad(minutes)}:${pad(left % 60)}` : `${minutes}:${pad(left % 60)}`;
      write("countdown", left ? clock : words.starting);
      if (left) counting = setTimeout(tick, (end - performance.now()) % 1000 || 1000);
    };
    tick();
  }

  function show(status) {
    const position = status.position;
    // Such an answer knows no position: the last one stays, with the time at which it was true.
    if (status.state === "recovering" || status.state === "store_down") return note(status.state);
    showTime(status.lastUpdated);
    countDown(status.secondsUntilEventStart);
    if (typeof position === "number") {
      const before = recall("place");
      showPosition(position, typeof status.usersAhead === "number" ? status.usersAhead : position - 1);
      showProgress(position);
      const expected = wait(status.estimatedWaitSeconds);
      write("wait", expected);
      if (before && before.position !== position && Date.now() - announcedAt >= QUIET_MS) {
        announce(fill(words.announce_position, { position: number(position), wait: expected }));
      }
    }
    if (typeof status.placeHeldSeconds === "number") {
      write("held", fill(words.held, { duration: duration(status.placeHeldSeconds) }));
    }
    unconfirmed = status.state === "unconfirmed" ? unconfirmed + 1 : 0;
    if (!unconfirmed) note("");
    // The cookie came back with none of three answers in a row: it never will by itself.
    else note(unconfirmed < 3 && navigator.cookieEnabled ? "unconfirmed" : "cookies");
  }

  // --- asking and following ---------------------------------------------------------------------------------------

  // Asks for this URL again by GET, also when the page answered a POST, and with the fragment kept: a URL that differs
  // in nothing but its fragment would only be scrolled to, so the page steps aside first.
  function follow() {
    const here = location.href;
    if (location.hash) history.replaceState(null, "", `${location.pathname}?${location.search.slice(1)}&`);
    location.replace(here);
  }

  // False while an entry that led straight back here is being slowed down: 5, 10, 20, ... 60 s.
  function enter(state) {
    const last = recall("entry");
    const repeated = last && Date.now() - last.at < LOOP_MS ? last.tries + 1 : 0;
    const waitMs = repeated ? Math.min(60000, 2500 * 2 ** repeated) : 0;
    if (last && Date.now() - last.at < waitMs) return false;
    remember("entry", { at: Date.now(), tries: repeated });
    if (state === "admitted") {
      remember("place", null);
      announce(words.announce_turn);
    }
    follow();
    return true;
  }

  function schedule(milliseconds) {
    clearTimeout(timer);
    const calm = document.hidden ? Math.max(milliseconds, HEARTBEAT_MS) : milliseconds;
    timer = setTimeout(ask, Math.max(calm, FLOOR_MS - (Date.now() - askedAt)));
  }

  function fail(answer) {
    failures += 1;
    note(navigator.onLine ? "reconnecting" : "offline");
    const backOff = Math.min(LONGEST_WAIT_MS, Math.max(nextMs, FLOOR_MS) * 2 ** Math.min(failures, 10));
    const wanted = 1000 * Number(answer && answer.headers.get("Retry-After")) || 0;
    schedule(Math.max(backOff * (1 + 0.3 * Math.random()), Math.min(wanted, LONGEST_WAIT_MS)));
  }

  async function ask() {
    if (asking) return;
    clearTimeout(timer);
    asking = true;
    askedAt = Date.now();
    const control = new AbortController();
    const patience = setTimeout(() => control.abort(), PATIENCE_MS);
    let answer = null;
    let status = null;
    try {
      // The status code says nothing here: a room may answer 503, 202 or 200 to those who wait.
      answer = await fetch(statusUrl, {
        headers: { Accept: "application/json" },
        cache: "no-store",
        credentials: "same-origin",
        signal: control.signal,
      });
      status = (await answer.json()).waitingRoom;
    } catch {
      status = null;
    }
    clearTimeout(patience);
    asking = false;
    if (!status) return fail(answer);
    failures = 0;
    const state = status.state || (status.inWaitingRoom === false ? "admitted" : "waiting");
    nextMs = 1000 * Math.max(Number(status.refreshIntervalSeconds) || HEARTBEAT_MS / 1000, FLOOR_MS / 1000);
    if (states.includes(state)) show(status);
    else if (enter(state)) return;
    schedule(nextMs);
  }

  function askSoon() {
    if (Date.now() - askedAt >= FLOOR_MS) ask();
    else schedule(0);
  }

  // --- start ------------------------------------------------------------------------------------------------------

  document.addEventListener("visibilitychange", () => document.hidden || askSoon());
  addEventListener("online", askSoon);
  addEventListener("offline", () => note("offline"));
  addEventListener("pageshow", (event) => event.persisted && askSoon());
  document.querySelector("[data-check]").addEventListener("click", (event) => {
    event.preventDefault();
    askSoon();
  });
  const leave = document.querySelector("[data-leave]");
  if (leave) leave.addEventListener("submit", () => remember("place", null));

  const updated = field("updated");
  const written = field("position");
  if (updated) showTime(updated.dateTime);
  const starts = field("starts");
  if (starts) {
    write("starts", new Date(starts.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
    countDown(Number(field("countdown").dataset.seconds));
  }
  if (written) {
    const position = Number(written.dataset.value);
    const last = recall("place");
    if (position) showProgress(position);
    else if (last && Date.now() - last.at < REMEMBERED_MS) {
      showPosition(last.position, last.position - 1);
      showProgress(last.position);
    }
  }
  if (room.dataset.state === "unconfirmed") ask();
  else schedule(nextMs);
})();
