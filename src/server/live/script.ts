/** The live page's own script, served from `/live.js`. It puts pieces of HTML, made and escaped by the server, in place. */
export const LIVE_SCRIPT = `'use strict'
{
  const CARDS = 60
  const status = document.getElementById('status')
  const feed = document.getElementById('feed')
  const overview = document.getElementById('overview')
  const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
  const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })

  const whenOf = (at) => {
    const isToday = at.toDateString() === new Date().toDateString()
    return isToday ? clock.format(at) : day.format(at) + ', ' + clock.format(at)
  }
  const localTimes = (root) => {
    for (const time of root.querySelectorAll('time[datetime]:not(.until)')) {
      time.textContent = whenOf(new Date(time.dateTime))
      time.title = new Date(time.dateTime).toLocaleString()
    }
    for (const time of root.querySelectorAll('time.until')) countDown(time)
  }
  const countDown = (time) => {
    const at = new Date(time.dateTime)
    const s = Math.ceil((at - Date.now()) / 1000)
    const [big, unit, small, part] = s < 3600 ? [60, 'min', 1, 's'] : s < 86400 ? [3600, 'h', 60, 'min'] : [86400, 'd', 3600, 'h']
    const rest = Math.floor((s % big) / small)
    const left = s < 60 ? s + ' s' : Math.floor(s / big) + ' ' + unit + (rest > 0 ? ' ' + rest + ' ' + part : '')
    time.textContent = s <= 0 ? 'now' : 'in ' + left + (s < 120 ? '' : ', at ' + whenOf(at))
  }
  setInterval(() => {
    for (const time of document.querySelectorAll('time.until')) countDown(time)
  }, 1000)
  const pieceOf = (html) => {
    const template = document.createElement('template')
    template.innerHTML = html
    localTimes(template.content)
    return template.content
  }
  const showOverview = (html) => overview.replaceChildren(pieceOf(html))
  const showCard = ({ id, html }, isNew) => {
    const old = document.getElementById(id)
    const piece = pieceOf(html)
    if (old) return old.replaceWith(piece)
    if (isNew) piece.firstElementChild.classList.add('fresh')
    for (const quiet of feed.querySelectorAll(':scope > .quiet')) quiet.remove()
    feed.prepend(piece)
    while (feed.children.length > CARDS) feed.lastElementChild.remove()
  }
  const say = (word) => {
    status.textContent = word
    status.dataset.state = word
  }

  localTimes(document)
  const from = document.body.dataset.stream
  if (from) {
    const source = new EventSource(from)
    source.onopen = () => say('live')
    source.onerror = () => {
      say('reconnecting')
      // The session is over, or the server said no: the page itself says what to do.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000)
    }
    const on = (name, show) => source.addEventListener(name, (event) => show(JSON.parse(event.data)))
    on('snapshot', (data) => {
      feed.replaceChildren()
      for (const card of data.cards.toReversed()) showCard(card, false)
      if (data.cards.length === 0) feed.replaceChildren(pieceOf('<p class="quiet">Nothing has come in yet. The first event appears here by itself.</p>'))
      showOverview(data.overview)
    })
    on('cards', (data) => {
      for (const card of data.cards) showCard(card, true)
    })
    on('overview', (data) => showOverview(data.overview))
    on('run', (data) => document.getElementById('run').replaceWith(pieceOf(data.html)))
  }
}
`
