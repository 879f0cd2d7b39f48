# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Numbers as people read them, and as drawings need them: percentages of a width, each with its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.slipway.vps.plugins.filter.text import human_size

OK, DEGRADED, FAILED, UNKNOWN = "ok", "degraded", "failed", "unknown"
#: From here on a share of a disk is worth a look, and is trouble; what is there to be used is never.
BUSY, FULL, NEVER = 80.0, 92.0, 101.0
#: So many days of backups are drawn.
NIGHTS = 14
#: What systemd calls an exposure, from the worst; and the colour that it has here. None is an alarm.
RATINGS = ((9.0, "unsafe", UNKNOWN), (7.5, "exposed", UNKNOWN), (5.0, "medium", UNKNOWN), (1.0, "ok", OK), (0.0, "safe", OK))


def instant(stamp: Any) -> datetime | None:
    """An ISO 8601 time; None where it is none. Without a zone it is UTC."""
    try:
        # Python 3.10 does not know Z.
        found = datetime.fromisoformat(str(stamp).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def date(moment: datetime | None, clock: bool = True) -> str:
    """12 Nov 2026, 07:23 UTC."""
    return f"{moment.astimezone(timezone.utc):{'%-d %b %Y, %H:%M UTC' if clock else '%-d %b %Y'}}" if moment else ""


def time(stamp: Any, now: datetime) -> dict[str, str] | None:
    """A time for the page: as programs and as people read it, and how long ago it was."""
    moment = instant(stamp)
    if not moment:
        return None
    passed = (now - moment).total_seconds()
    about = "just now" if abs(passed) < 60 else f"{duration(passed)} ago" if passed > 0 else f"in {duration(-passed)}"
    return {"iso": moment.isoformat(), "text": date(moment), "about": about}


def duration(seconds: float) -> str:
    """In its largest unit, or the two that say more: 340 ms, 8.2 s, 2 min 14 s, 5 h, 12 days."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds < 600 else f"{seconds // 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds // 3600:.0f} h"
    return count(int(seconds / 86400 + 0.5), "day")


def count(number: int, one: str, many: str = "") -> str:
    """1 change, 12 changes."""
    return f"{number:,} {one if number == 1 else many or one + 's'}".replace(",", "\u202f")


def size(value: Any) -> str:
    """1.4 GB."""
    return human_size(value)


def meter(label: str, used: float | None, total: float | None, text: str, busy: float = BUSY, full: float = FULL) -> dict[str, Any] | None:
    """A bar: how much of something is used; None where that is not known.

    :arg busy: the percentage from which it is worth a look; above 100: never.
    :arg full: the percentage from which it is trouble.
    """
    if used is None or not total:
        return None
    percent = max(0.0, min(100.0, used / total * 100))
    state = FAILED if percent >= full else DEGRADED if percent >= busy else OK
    return {"label": label, "percent": round(percent, 1), "text": text, "state": state}


# --- Releases -----------------------------------------------------------------------------------


def timeline(releases: Sequence[Mapping[str, Any]], now: datetime) -> dict[str, Any] | None:
    """When each release was live, as bars of a line from the first one to now; and marks for those that did not become it.

    A release is live until the next one is.
    """
    lived = sorted((moment, one) for one in releases if (moment := instant(one.get("live_at"))) and moment <= now)
    tried = [(moment, one) for one in releases if not one.get("live_at") and (moment := instant(one.get("created_at"))) and moment <= now]
    first = min((moment for moment, _ in [*lived, *tried]), default=None)
    if first is None:
        return None
    span = max((now - first).total_seconds(), 1.0)

    def place(moment: datetime) -> float:
        return (moment - first).total_seconds() / span * 100

    bars = []
    for index, (moment, one) in enumerate(lived):
        until = lived[index + 1][0] if index + 1 < len(lived) else now
        # One that was live for minutes of months is seen, too.
        width = max(place(until) - place(moment), 0.5)
        words = f"{one.get('version') or one.get('id')}: live from {date(moment)}" + (" on" if one.get("live") else f" to {date(until)}")
        left = min(place(moment), 99.5)
        bars.append({"x": round(left, 2), "width": round(width, 2), "live": bool(one.get("live")), "odd": index % 2 == 1, "text": words})
    marks = [
        {
            "x": round(min(max(place(moment), 1.0), 99.0), 2),
            "text": f"{one.get('version') or one.get('id')}: {one.get('state')}, {date(moment)}",
        }
        for moment, one in tried
    ]
    return {"bars": bars, "marks": marks, "from": date(first, clock=False), "to": date(now, clock=False)}


# --- Certificate --------------------------------------------------------------------------------


def lifetime(certificate: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """The life of a certificate as a line: where it stands, and where renewal begins."""
    begins, ends = instant(certificate.get("not_before")), instant(certificate.get("not_after"))
    if not begins or not ends or ends <= begins:
        return None

    def place(moment: datetime | None) -> float | None:
        return None if moment is None else round(max(0.0, min(100.0, (moment - begins) / (ends - begins) * 100)), 1)

    alarm = instant(certificate.get("alarm_at"))
    state = FAILED if now >= (alarm or ends) else OK
    renew = place(instant(certificate.get("renew_at")))
    return {"now": place(now), "renew": renew, "state": state, "from": date(begins, False), "to": date(ends, False)}


# --- Backups ------------------------------------------------------------------------------------


def nights(backups: Sequence[Mapping[str, Any]], damaged: Sequence[str], now: datetime) -> list[dict[str, Any]]:
    """The last days, each with the best that its backups are: proven by a restore, taken, or none. Days before the first are left out."""
    taken = [(moment.date(), one) for one in backups if (moment := instant(one.get("taken_at")))]
    if not taken:
        return []
    today, first = now.date(), min(day for day, _ in taken)
    broken = {name[:8] for name in damaged}
    found = []
    for back in range(NIGHTS - 1, -1, -1):
        day = today - timedelta(days=back)
        if day < first:
            continue
        state, word = _night([one for at, one in taken if at == day], f"{day:%Y%m%d}" in broken)
        # Today's may be to come.
        if state == "none" and day == today:
            state, word = "due", "not yet"
        found.append({"day": f"{day:%-d}", "text": f"{day:%-d %b}: {word}", "state": state})
    return found


def _night(of_day: Sequence[Mapping[str, Any]], damaged: bool) -> tuple[str, str]:
    proofs = [one["proof"] for one in of_day if one.get("proof")]
    if any(proof.get("good") for proof in proofs):
        return "proven", "proven by a restore"
    if proofs or (damaged and not of_day):
        return "bad", "no good"
    return ("taken", "taken, not proven") if of_day else ("none", "none")


# --- Hardening ----------------------------------------------------------------------------------


def exposed(unit: str, value: float) -> dict[str, Any]:
    """What systemd says of a unit's sandbox, as a bar of ten."""
    word, state = next((word, state) for least, word, state in RATINGS if value >= least)
    return {"label": unit, "percent": round(value * 10, 1), "text": f"{value:.1f} of 10, {word}", "state": state}
