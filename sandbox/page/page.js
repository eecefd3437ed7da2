// The page's own part: it holds what the server tells, draws it, and sends what buttons say.
// The calendar is FullCalendar's: https://fullcalendar.io/docs
const $ = id => document.getElementById(id)
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone
const told = {}               // section -> what the server told last
const events = new Map()      // Event id -> its row
const drawn = new Map()       // id in the calendar -> [its text as JSON, FullCalendar's object]
const MANY = 100              // changes that are drawn anew at once rather than one by one
const CROWD = 300             // Events in view, from which on more stand behind "+2 more"
let calendar, open = null, editing = null, told_until

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") node.onclick = value
    else if (value === true) node.setAttribute(key, "")
    else if (value !== false && value != null) node.setAttribute(key, value)
  }
  node.append(...children.filter(child => child != null && child !== ""))
  return node
}

async function ask(path, body = {}) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(body) })
  const text = await answer.text()
  let said = text
  if (text.startsWith("{")) { const json = JSON.parse(text); said = json.said ?? json.error }
  tell(said)
  return answer.ok
}

function tell(sentence, day) {
  const [text, button] = $("told").children
  text.textContent = sentence
  button.hidden = !day
  button.onclick = () => { calendar.gotoDate(day); $("told").hidden = true }
  $("told").hidden = false
  clearTimeout(told_until)
  told_until = setTimeout(() => { $("told").hidden = true }, 8000)
}

// The calendar ---------------------------------------------------------------------------------

const { format: clock } = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" })
const { format: day } = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" })
const span = row => {
  const [start, end] = [new Date(row.start), new Date(row.end)]
  const other = start.toDateString() === end.toDateString() ? "" : `${day(end)} `
  return `${day(start)}, ${clock(start)} to ${other}${clock(end)}`
}
const accountName = id => told.accounts.find(account => account.id === id)?.name ?? ""
const KINDS = { busy: "", free: "Break", absent: "Absent" }
const accountAt = row => told.accounts.findIndex(account => account.id === row.account)
const colour = row => `account-${accountAt(row) < 0 ? "none" : accountAt(row) % 8}`
const spoken = row => [row.subject, KINDS[row.kind], row.what || "no link", accountName(row.account),
  row.owner, span(row)].filter(Boolean).join(", ")

// What the calendar should hold now: the Events in view, or, of a month, a sum a day and account.
function wanted() {
  const { view } = calendar
  const [from, to] = [view.activeStart.toISOString(), view.activeEnd.toISOString()]
  const result = new Map()
  for (const [id, row] of events) {
    if (row.start >= to || (row.end <= from && row.start < from)) continue
    if (view.type !== "dayGridMonth") {
      result.set(id, { id, title: spoken(row), start: row.start, end: row.end,
        classNames: [colour(row), row.kind], extendedProps: { row } })
      continue
    }
    const start = new Date(row.start)
    const date = `${start.getFullYear()}-${String(start.getMonth() + 1).padStart(2, "0")}-${String(start.getDate()).padStart(2, "0")}`
    const key = `${date} ${row.account}`
    const sum = result.get(key) ?? { id: key, start: date, allDay: true,
      classNames: [colour(row)], extendedProps: { at: accountAt(row), sum: { count: 0, hours: 0 } } }
    const { sum: numbers } = sum.extendedProps
    numbers.count += 1
    numbers.hours += (new Date(row.end) - start) / 3600000
    sum.title = `${numbers.hours.toFixed(1)} h, ${numbers.count}× ${accountName(row.account) || "no account"}`
    result.set(key, sum)
  }
  return result
}

function draw(fresh = new Set()) {
  const now = wanted()
  const gone = [...drawn.keys()].filter(id => !now.has(id))
  const changed = [...now].filter(([id, event]) => drawn.get(id)?.[0] !== JSON.stringify(event))
  if (gone.length + changed.length > MANY) {
    calendar.batchRendering(() => {
      clear()
      calendar.setOption("eventMaxStack", now.size > CROWD ? 2 : 4)
      calendar.addEventSource([...now.values()])
      for (const event of calendar.getEvents()) drawn.set(event.id, [JSON.stringify(now.get(event.id)), event])
    })
    return
  }
  calendar.batchRendering(() => {
    calendar.setOption("eventMaxStack", now.size > CROWD ? 2 : 4)
    for (const id of gone) { drawn.get(id)[1].remove(); drawn.delete(id) }
    for (const [id, event] of changed) {
      drawn.get(id)?.[1].remove()
      const classNames = fresh.has(id) ? [...event.classNames, "fresh"] : event.classNames
      drawn.set(id, [JSON.stringify(event), calendar.addEvent({ ...event, classNames })])
    }
  })
  // Else they would flash again in the next view.
  if (fresh.size) setTimeout(() => calendar.batchRendering(() => {
    for (const [id, event] of changed) if (drawn.get(id)?.[0] === JSON.stringify(event))
      drawn.get(id)[1].setProp("classNames", event.classNames)
  }), 2000)
}

function clear() {
  drawn.clear()
  calendar.removeAllEvents()
  calendar.getEventSources().forEach(source => source.remove())
}

function content({ event, view }) {
  const { row, sum } = event.extendedProps
  if (sum) return { domNodes: [make("span", { class: "what" }, event.title)] }
  const first = [KINDS[row.kind], row.what || row.subject].filter(Boolean).join(" · ")
  const nodes = [make("span", { class: "what" }, first)]
  const list = view.type === "listWeek"
  if (!list) nodes.push(make("span", { class: "more" }, `${clock(event.start)} – ${clock(event.end ?? event.start)}`))
  for (const more of [row.text, row.owner])
    if (more) nodes.push(make("span", { class: "more" }, more))
  return { domNodes: list ? [make("button", { type: "button", class: "plain", "aria-label": event.title }, ...nodes)] : nodes }
}

function start(first) {
  const newest = [...events.values()].reduce((a, b) => !a || b.changed >= a.changed ? b : a, null)
  const at = newest ? new Date(newest.start) : new Date()
  const narrow = matchMedia("(max-width: 40rem)").matches
  const hours = narrow ? 9 : 14  // that are in view; the day begins at seven, if the newest allows
  const top = Math.max(0, Math.min(at.getHours() - 1, Math.max(7, at.getHours() - hours)))
  calendar = new fullcalendar.Calendar($("calendar"), {
    plugins: [fullcalendar.dayGridPlugin, fullcalendar.timeGridPlugin, fullcalendar.listPlugin],
    initialView: narrow ? "timeGridDay" : "timeGridWeek",
    initialDate: at,
    scrollTime: `${String(top).padStart(2, "0")}:00`,
    locales: fullcalendar.localesAll, locale: "en-gb",
    headerToolbar: { start: "prev,next today", center: "title", end: "timeGridDay,timeGridWeek,dayGridMonth,listWeek" },
    allDaySlot: false, nowIndicator: true, height: narrow ? 560 : 720,
    slotLabelFormat: { hour: "2-digit", minute: "2-digit", hour12: false },
    eventTimeFormat: { hour: "2-digit", minute: "2-digit", hour12: false },
    dayHeaderFormat: { weekday: "short", day: "numeric" }, eventOrder: "start,-duration,at",
    views: { dayGridMonth: { dayHeaderFormat: { weekday: "short" } } },
    dayMaxEvents: 5, eventMinHeight: 18, slotEventOverlap: false, eventInteractive: true,
    displayEventTime: true, eventContent: content,
    // FullCalendar makes both of these focusable, but not buttons, and names them by what fits in.
    eventDidMount: ({ el, event }) => {
      if (el.tagName !== "A") return
      el.setAttribute("role", "button")
      el.setAttribute("aria-label", event.title)
      el.title = event.title
    },
    moreLinkDidMount: ({ el }) => el.setAttribute("role", "button"),
    eventClick: ({ event }) => {
      if (event.extendedProps.sum) calendar.changeView("timeGridDay", event.start)
      else show(event.id)
    },
    datesSet: () => queueMicrotask(() => draw()),
  })
  // Between a month's sums and single Events FullCalendar would first draw the old ones anew.
  $("calendar").addEventListener("click", ({ target }) => {
    const month = Boolean(target.closest(".fc-dayGridMonth-button"))
    if (target.closest(".fc-button-group .fc-button:not(.fc-prev-button, .fc-next-button)")
      && month !== (calendar.view.type === "dayGridMonth")) clear()
  }, true)
  calendar.render()
}

function changedEvents({ first, changed, gone }) {
  for (const id of gone) events.delete(id)
  const created = Object.keys(changed).filter(id => !events.has(id))
  for (const [id, row] of Object.entries(changed)) events.set(id, row)
  if (first) {
    const now = new Set(Object.keys(changed))
    for (const id of events.keys()) if (!now.has(id)) events.delete(id)
  }
  if (!calendar) return start()
  const ids = Object.keys(changed)
  draw(first || ids.length > MANY ? new Set() : new Set(ids))
  if (first) return
  if (ids.length === 1 && !gone.length) {
    const row = events.get(ids[0])
    const { activeStart, activeEnd } = calendar.view
    const away = new Date(row.start) < activeStart || new Date(row.start) >= activeEnd
    tell(`Event ${created.length ? "created" : "changed"}: ${spoken(row)}`, away ? row.start : null)
  } else if (gone.length === 1 && !ids.length) tell("Event deleted")
  else tell(`Events: ${created.length} created, ${ids.length - created.length} changed, ${gone.length} deleted`)
  if (open && (gone.includes(open) || changed[open])) show(open)
}

// One Event ------------------------------------------------------------------------------------

async function show(id) {
  const found = await (await fetch(`events/${id}`)).json()
  open = id
  if (!found) { $("event").close(); return }
  const { record, state, names, entry } = found
  editing = entry
  const named = field => record[field] ? names[record[field]] ?? record[field] : "nobody"
  $("event-title").textContent = record.Subject
  $("event-when").textContent = events.has(id) ? `${span(events.get(id))} (${zone})` : ""
  const fields = [["Assigned To", named("OwnerId")], ["Related To", record.WhatId ? named("WhatId") : "nothing"]]
  if (record.WhoId) fields.push(["Name", named("WhoId")])
  fields.push(["Show Time As", record.ShowAs], ["Description", record.Description])
  for (const [field, value] of Object.entries(record))
    if (field.startsWith("Clockify_") && value != null)
      fields.push([field.slice(9, -3).replaceAll("_", " "), value === true ? "yes" : value === false ? "no" : value])
  fields.push(["Last Modified By", named("LastModifiedById")])
  $("event-fields").replaceChildren(...fields.flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, String(value ?? ""))]))
  fill($("event-owner"), told.salesforce.owners, record.OwnerId)
  fill($("event-link"), [{ id: "", name: "nothing" }, ...told.salesforce.links], record.WhatId ?? "")
  for (const button of ["event-edit", "event-split", "event-delete"]) $(button).disabled = !entry
  $("event-record").textContent = JSON.stringify(record, null, 2)
  $("event-state").textContent = JSON.stringify(state, null, 2)
  $("event-state").closest("details").hidden = !state
  if (!$("event").open) $("event").showModal()
}

function fill(select, options, value) {
  const shown = JSON.stringify(options)
  if (select.dataset.shown !== shown) {
    const before = select.value
    select.replaceChildren(...options.map(({ id, name }) => make("option", { value: id }, name)))
    select.dataset.shown = shown
    if (options.some(option => option.id === before)) select.value = before
  }
  if (value !== undefined) select.value = value
}

$("event").addEventListener("close", () => { open = null })
$("event-edit").onclick = () => { const entry = editing; $("event").close(); form("Edit the entry", entry) }
$("event-split").onclick = () => { ask("clockify/split", { entry: editing.id }); $("event").close() }
$("event-delete").onclick = () => { ask("clockify/delete", { entry: editing.id }); $("event").close() }
$("event-owner").onchange = ({ target }) => ask("salesforce/change", { event: open, OwnerId: target.value })
$("event-link").onchange = ({ target }) => ask("salesforce/change", { event: open, WhatId: target.value })
for (const button of document.querySelectorAll("dialog .close"))
  button.onclick = () => button.closest("dialog").close()

// The form of an entry -------------------------------------------------------------------------

const local = moment => new Date(moment - new Date(moment).getTimezoneOffset() * 60000).toISOString().slice(0, 16)
function form(title, entry) {
  const end = new Date(); end.setMinutes(0, 0, 0)
  $("form-title").textContent = title
  $("form-problem").textContent = ""
  fill($("form-project"), projects(), entry ? entry.project ?? "" : $("project").value)
  $("form-description").value = entry ? entry.description : "Workshop"
  $("form-start").value = local(entry ? new Date(entry.start) : end - 3600000)
  $("form-end").value = local(entry ? new Date(entry.end) : end)
  $("form-type").value = entry ? entry.type : "REGULAR"
  $("form").dataset.entry = entry ? entry.id : ""
  $("form").showModal()
}
$("form").querySelector("form").onsubmit = event => {
  event.preventDefault()
  const [start, end] = [new Date($("form-start").value), new Date($("form-end").value)]
  if (end < start) { $("form-problem").textContent = "The end lies before the start."; return }
  const entry = $("form").dataset.entry
  ask(entry ? "clockify/edit" : "clockify/add", { entry, user: $("user").value,
    project: $("form-project").value, description: $("form-description").value,
    start: start.toISOString(), end: end.toISOString(), type: $("form-type").value })
  $("form").close()
}
const projects = () => [{ id: "", name: "no project" }, ...told.clockify.projects.map(({ id, name, client }) =>
  ({ id, name: client ? `${name} (${client})` : name }))]

// In Clockify ----------------------------------------------------------------------------------

$("timer").onsubmit = event => {
  event.preventDefault()
  ask("clockify/start", { user: $("user").value, project: $("project").value,
    description: $("description").value, minutes: $("minutes").value })
}
for (const deed of ["stop", "discard", "undo", "week", "many", "repeat"])
  $(deed).onclick = () => ask(`clockify/${deed}`, { user: $("user").value, zone })
$("add").onclick = () => form("Add an entry", null)
$("stranger").onclick = () => ask("stranger")
$("user").onchange = () => clockify()

function clockify() {
  const { users, timers, discarded, entries, sent } = told.clockify
  fill($("user"), users)
  const first = !$("project").dataset.shown
  fill($("project"), projects(), first ? told.clockify.projects[0]?.id : undefined)
  const user = $("user").value, timer = timers[user]
  $("start").disabled = Boolean(timer)
  $("stop").disabled = $("discard").disabled = !timer
  $("undo").disabled = Boolean(timer) || !discarded.includes(user)
  $("repeat").disabled = !sent
  keep($("entries"), entries.filter(entry => entry.end || entry.deleted), entry => [
    make("span", { class: "grow" }, entry.description || "no description", make("br"),
      make("span", { class: "quiet" }, [entry.who, entry.project_name,
        entry.end ? span(entry) : "a discarded timer"].filter(Boolean).join(" · "))),
    ...(entry.deleted ? [make("span", { class: "pill" }, "deleted"), button("Restore", entry, "restore")]
      : [make("button", { type: "button", "aria-label": `Edit: ${entry.description}`, onclick: () => form("Edit the entry", entry) }, "Edit…"),
        button("Split", entry, "split"), button("Delete", entry, "delete")])])
  tick()
}
const button = (name, entry, deed) => make("button", { type: "button",
  "aria-label": `${name}: ${entry.description}`, onclick: () => ask(`clockify/${deed}`, { entry: entry.id }) }, name)

function tick() {
  const timer = told.clockify?.timers[$("user").value]
  if (!timer) { $("running").textContent = ""; return }
  const seconds = Math.max(0, Math.round((Date.now() - new Date(timer.start)) / 1000))
  const two = number => String(number).padStart(2, "0")
  $("running").textContent = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)} ${timer.description}`
}
setInterval(tick, 1000)

// Draw a list anew, and leave what has not changed, so that nobody's focus is lost.
function keep(list, rows, parts, name = "li") {
  const before = new Map([...list.children].map(node => [node.dataset.row, node]))
  const focused = document.activeElement
  const label = list.contains(focused) ? focused.getAttribute("aria-label") : null
  list.replaceChildren(...rows.map(row => {
    const key = JSON.stringify(row)
    return before.get(key) ?? make(name, { "data-row": key }, ...parts(row))
  }))
  if (!rows.length && name === "li") list.append(make("li", { class: "quiet" }, "nothing"))
  if (label) [...list.querySelectorAll("button")].find(each => each.getAttribute("aria-label") === label)?.focus()
}

// The rest -------------------------------------------------------------------------------------

const SECTIONS = {
  clockify,
  counts({ calls, sign_ins, waiting }) {
    $("waiting-count").textContent = waiting
    $("waiting-count").className = waiting ? "pill warn" : "pill"
  },
  accounts(accounts) {
    const items = [...accounts.map((account, at) => [`account-${at % 8}`, account.name]),
      ["account-none", "no account"], ["account-none free", "a break"], ["absent", "absent"]]
    $("legend").replaceChildren(...items.map(([css, name]) => make("li", {}, make("span", { class: css }), name)))
  },
  messages(messages) {
    keep($("messages"), messages, message => {
      const good = message.status >= 200 && message.status < 300
      const later = message.status === 202
      const answer = message.status ? `${message.status} ${message.result}` : "no answer yet"
      return [
        make("td", {}, new Date(message.at * 1000).toLocaleTimeString([], { hour12: false })),
        make("td", {}, message.event, make("span", { class: "quiet" },
          make("br"), [message.about, `from ${message.sender}`, message.repeat && "sent again", message.instance && `to instance ${message.instance}`].filter(Boolean).join(" · "))),
        make("td", {}, make("span", { class: later ? "warn" : good ? "good" : message.status ? "bad" : "warn" }, answer),
          message.reason && make("span", { class: "quiet" }, make("br"), message.reason)),
        make("td", {}, message.status ? String(message.milliseconds) : ""),
        make("td", {}, message.calls == null ? "" : String(message.calls)),
      ]
    }, "tr")
  },
  waiting(rows) {
    keep($("waiting"), rows, row => [
      make("span", { class: "grow" }, row.event, make("br"),
        make("span", { class: "quiet" }, [row.about, row.reason || "its first try is on the way"].filter(Boolean).join(": "))),
      make("span", { class: "pill" }, row.attempts === 1 ? "1 attempt" : `${row.attempts} attempts`)])
  },
  instances(rows) {
    keep($("scale"), [1, 2, 3].map(count => ({ count, on: rows.length === count })), ({ count, on }) =>
      [make("button", { type: "button", "aria-pressed": String(on), "aria-label": count === 1 ? "1 instance" : `${count} instances`,
        onclick: () => ask("instances", { count }) }, String(count))], "span")
    keep($("instances"), rows, ({ name, state, served, pid }) => {
      const act = (text, deed) => make("button", { type: "button", "aria-label": `${text} instance ${name}`,
        onclick: () => ask(`instances/${name}/${deed}`) }, text)
      return [make("span", { class: "grow" }, name, " ", make("span", { class: `pill ${state === "running" ? "good" : "bad"}` }, state),
        make("br"), make("span", { class: "quiet" }, `process ${pid} · ${served} ${served === 1 ? "request" : "requests"}`)),
      ...(state === "killed" ? [act("Start", "start")]
        : [act("Kill", "kill"), state === "frozen" ? act("Thaw", "thaw") : act("Freeze", "freeze")])]
    })
  },
  faults(faults) {
    keep($("faults"), [...faults, { name: "all well", on: null }], ({ name, means, on }) =>
      [make("button", { type: "button", title: means ?? "no fault any more", "aria-label": means ? `${name}: ${means}` : name,
        "aria-pressed": on === null ? null : String(on),
        onclick: () => ask(`faults/${on === null ? "none" : name}`) }, name)], "span")
    const on = faults.filter(fault => fault.on)
    $("fault-means").textContent = on.length ? `Now ${on.map(fault => fault.means || fault.name).join("; ")}.`
      : "Switch a fault on, change something in Clockify, switch it off again."
  },
}

const stream = new EventSource("changes")
stream.onopen = () => { $("live").textContent = "live"; $("live").className = "on" }
stream.onerror = () => { $("live").textContent = "the sandbox has ended: make run starts it"; $("live").className = "" }
stream.onmessage = ({ data }) => {
  const came = performance.now()
  const { events: changes, ...sections } = JSON.parse(data)
  Object.assign(told, sections)
  for (const [name, value] of Object.entries(sections)) SECTIONS[name]?.(value)
  if (changes) changedEvents(changes)
  if (changes?.first) requestAnimationFrame(() => setTimeout(() => performance.measure("drawn", { start: came })))
  const { calls, sign_ins, waiting } = told.counts
  $("counts").textContent = `${events.size} Events · ${waiting} waiting · ${calls} Salesforce calls · ${sign_ins} sign-ins`
}
