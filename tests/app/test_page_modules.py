"""The pure parts of the page, run in a browser and held against Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.browsing import static_page
from tests.evaluation.test_report_page import browser as browser  # a fixture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """An empty page from which the package's modules can be imported."""
    opened = static_page(browser)
    yield opened
    opened.close()


def call(page: Any, module: str, body: str, argument: Any = None) -> Any:
    """Run `body` with the module as `m` and the argument as `a`."""
    source = f"async (a) => {{ const m = await import('/static/js/{module}.js'); {body} }}"
    return page.evaluate(source, argument)


def test_the_timeline_knows_its_frames(page: Any) -> None:
    for width, frames in ((900, 30), (500, 1000), (700, 1), (300, 20000)):
        found = call(
            page,
            "timeline_math",
            """
            const axis = m.axis(a.width, a.frames, 2), all = Array.from({ length: a.frames }, (_, k) => k);
            return { wrong: all.filter((k) => m.frameAt(axis, m.xOf(axis, k)) !== k), ticks: m.ticks(axis),
                     ends: [m.frameAt(axis, -50), m.frameAt(axis, 1e5)] };
        """,
            {"width": width, "frames": frames},
        )
        assert found["wrong"] == [] and found["ends"] == [0, frames - 1]
        assert (
            found["ticks"][0] == 0 and 1 <= len(found["ticks"]) <= width / 80 and found["ticks"][-1] < frames
        )
    near = call(
        page,
        "timeline_math",
        "const axis = m.axis(1020, 1000, 0), x = m.xOf(axis, 500);"
        "return [m.snapped(axis, x + 4, [500, 900]), m.snapped(axis, x + 40, [500]),"
        " m.rowAt(10, 2), m.rowAt(40, 2), m.rowAt(90, 2)]",
    )
    assert near == [500, 540, None, 0, None]
    track = {"presence": [2, None, -1], "iou": [0.5, None, 0.1]}
    assert call(
        page, "timeline_math", "return [0, 3, 8, 99].map((f) => m.valuesAt(a, f, 4).presence)", track
    ) == [2, 2, -1, None]


SESSION = {
    "id": "s",
    "revision": 3,
    "frames": 10,
    "task": None,
    "objects": [{"id": 4}, {"id": 7}],
    "prompts": [],
}


def test_an_older_session_changes_nothing(page: Any) -> None:
    found = call(
        page,
        "state",
        """
        let state = { ...m.WORK, frame: 40, hidden: new Set([7, 9]) };
        state = { ...state, ...m.withSession(state, a) };
        const first = [state.object, state.frame, [...state.hidden]];
        const late = m.withSession(state, { ...a, revision: 2, objects: [] });
        const removed = m.withSession({ ...state, object: 4 }, { ...a, revision: 4, objects: [{ id: 7 }] });
        const other = m.withSession(state, { ...a, id: "t", revision: 1 });
        return [first, late, removed.object, other.session.id];
    """,
        SESSION,
    )
    assert found == [[4, 9, [7]], {}, 7, "t"]


def test_small_steps_of_the_state(page: Any) -> None:
    body = """
        const said = [[8, 1], [3, 2], [8, 2]].map(([frame, object]) => ({ frame, object }));
        const frames = [3, 8, 20], session = { frames: 10, prompts: said };
        const called = (id, name, category) => m.nameOf({ id, name, category });
        return {
          next: [[frames, 8, 1], [frames, 8, -1], [frames, 20, 1], [[], 0, 1]].map((one) => m.nextOf(...one)),
          clamp: [...[-3, Infinity, 4.4].map((one) => m.clampFrame(session, one)), m.clampFrame(null, 7)],
          toggled: [[...m.toggled(new Set([1]), 2)], [...m.toggled(new Set([1]), 1)]],
          prompted: m.promptedFrames(session),
          prompt: [m.promptOf(session, 3, 2) !== null, m.promptOf(session, 3, 1)],
          busy: ["running", "paused", "done", "failed"].map((state) => m.isBusy({ state })),
          names: [called(1, "Tom", "cat"), called(2, "", "cat"), called(3, "", "")],
        };
    """
    assert call(page, "state", body) == {
        "next": [20, 3, None, None],
        "clamp": [0, 9, 4, 0],
        "toggled": [[1, 2], []],
        "prompted": [3, 8],
        "prompt": [True, None],
        "busy": [True, True, False, False],
        "names": ["Tom", "cat 2", "object 3"],
    }


def test_listeners_hear_once_and_only_of_what_differs(page: Any) -> None:
    heard = call(
        page,
        "store",
        """
        const store = m.createStore({ x: 1, y: 1 }), heard = [];
        store.on(["x"], (state) => heard.push(state.x));
        const off = store.on(["y"], (state) => heard.push(-state.y));
        store.set({ x: 2 }); store.set({ x: 3, y: 1 }); await null; await null;
        store.set({ x: 3 }); await null; off(); store.set({ y: 5 }); await null; await null;
        return [heard, store.get()];
    """,
    )
    assert heard == [[3], {"x": 3, "y": 5}]


FETCHER = """
    const asked = [], stopped = [], arrived = [], open = new Map();
    const fetchOne = (key, signal) => new Promise((resolve, reject) => {
      asked.push(key);
      open.set(key, resolve);
      signal.addEventListener("abort", () => {
        stopped.push(key);
        reject(new DOMException("", "AbortError"));
      });
    });
    const hooks = { arrived: (...what) => arrived.push(what), failed: () => arrived.push("failed") };
    const fetcher = new m.Fetcher(fetchOne, new m.Cache(5), hooks);
    const answer = async (key) => { open.get(key)(key * 10); await new Promise((go) => setTimeout(go)); };
"""


def test_scrubbing_asks_for_the_newest_wish_only(page: Any) -> None:
    found = call(
        page,
        "frames",
        FETCHER
        + """
        for (let frame = 1; frame <= 40; frame += 1) fetcher.want(frame, [frame + 1]);
        await answer(1);
        await answer(40);
        return { asked, stopped, arrived };
    """,
    )
    assert found == {"asked": [1, 40, 41], "stopped": [], "arrived": [[1, 10], [40, 400]]}


def test_what_was_fetched_ahead_gives_way_and_is_shown_when_it_is_wanted(page: Any) -> None:
    found = call(
        page,
        "frames",
        FETCHER
        + """
        fetcher.want(1, [2, 3]);
        await answer(1);
        fetcher.want(2);       // it is on its way already: not asked for again
        await answer(2);
        fetcher.want(1, [3]);  // known: shown at once
        fetcher.want(9);       // what is fetched ahead is stopped for it
        await answer(9);
        return { asked, stopped, arrived };
    """,
    )
    assert found == {"asked": [1, 2, 3, 9], "stopped": [3], "arrived": [[1, 10], [2, 20], [1, 10], [9, 90]]}


def test_a_slow_request_is_stopped_once_another_frame_is_wanted(page: Any) -> None:
    found = call(
        page,
        "frames",
        FETCHER
        + """
        fetcher.want(1);
        fetcher.want(2);
        const before = [...stopped];
        await new Promise((go) => setTimeout(go, 300));
        fetcher.want(3);
        fetcher.stop();
        return { before, asked, stopped, arrived };
    """,
    )
    assert found == {"before": [], "asked": [1, 3], "stopped": [1, 3], "arrived": []}


def test_the_cache_closes_what_was_not_used_for_longest(page: Any) -> None:
    found = call(
        page,
        "frames",
        """
        const closed = [], cache = new m.Cache(2, (value) => closed.push(value));
        cache.set("a", 1); cache.set("b", 2); cache.get("a"); cache.set("c", 3); cache.set("a", 4);
        return [closed, [...cache.entries.keys()]];
    """,
    )
    assert found == [[2, 1], ["c", "a"]]


def test_frames_ahead_are_those_of_the_way_one_goes(page: Any) -> None:
    found = call(
        page,
        "stage",
        "const ways = [[5, 1, 10, false], [5, -1, 10, false], [6, 1, 10, true]];"
        "return [...ways.map((one) => m.framesAhead(...one)),"
        " m.kept(960, 540), m.kept(8000, 8000)]",
    )
    assert found == [[6, 7, 4, 8, 9], [4, 3, 6, 2, 1], [7, 8, 9], 96, 12]


def test_keys_have_names_and_inputs_keep_theirs(page: Any) -> None:
    found = call(
        page,
        "keys",
        """
        const none = { ctrlKey: false, metaKey: false, shiftKey: false };
        const key = (key, more = {}) => m.pressed({ key, ...none, ...more });
        const input = (type) => Object.assign(document.createElement("input"), { type });
        const button = document.createElement("button");
        return [
          [key("Z", { ctrlKey: true, shiftKey: true }), key("z", { metaKey: true }),
           ...["ArrowLeft", "?", "A"].map((one) => key(one, { shiftKey: true })), key(" ")],
          [[input("text"), "z"], [input("number"), "1"], [input("number"), "Ctrl+z"],
           [input("range"), "ArrowLeft"], [input("range"), "t"],
           [button, " "], [button, "ArrowLeft"], [document.body, " "],
          ].map((one) => m.ownsKey(...one)),
        ];
    """,
    )
    assert found == [
        ["Ctrl+Shift+z", "Ctrl+z", "Shift+ArrowLeft", "?", "Shift+a", " "],
        [True, True, False, True, False, True, False, False],
    ]


def test_numbers_are_written_for_people(page: Any) -> None:
    found = call(
        page,
        "format",
        """
        return [
          [0, 999, 1500, 15600000, 2e9, null].map(m.bytes), [0.4, 61, 7322, null, Infinity].map(m.duration),
          [[0, 25], [83, 30], [3000, 25], [5, null]].map((one) => m.clock(...one)),
          [m.several(1, "frame"), m.several(1234, "mask")],
          [m.score(0.567), m.score(null)], [m.ago(1000, 1030e3), m.ago(1000, 1600e3), m.ago("never")],
        ];
    """,
    )
    assert found == [
        ["0 B", "999 B", "1.5 kB", "16 MB", "2.0 GB", "\u2013"],
        ["0 s", "1 min 1 s", "2 h 2 min", "\u2013", "\u2013"],
        ["0:00.00", "0:02.76", "2:00.00", ""],
        ["1 frame", "1,234 masks"],
        ["0.57", "\u2013"],
        ["just now", "10 min ago", ""],
    ]


def test_addresses_say_where_one_is(page: Any) -> None:
    hashes = [
        "",
        "#/",
        "#/clip/ab%2F1/12",
        "#/clip/ab",
        "#/clip/ab/x",
        "#/picture",
        "#/picture/a%2Fb%20c.jpg",
        "#/clip/%E0%A4/1",
        "#/what",
    ]
    assert call(page, "router", "return a.map(m.parseHash)", hashes) == [
        {"page": "start"},
        {"page": "start"},
        {"page": "clip", "id": "ab/1", "frame": 12},
        {"page": "clip", "id": "ab", "frame": None},
        {"page": "clip", "id": "ab", "frame": None},
        {"page": "picture", "path": None},
        {"page": "picture", "path": "a/b c.jpg"},
        {"page": "clip", "id": "%E0%A4", "frame": 1},
        {"page": "start"},
    ]


def test_errors_can_be_read(page: Any) -> None:
    answers = [[422, '{"error": "no video"}'], [401, "<html>"], [500, "oops"], [404, "{}"]]
    said = call(page, "api", "return a.map(([status, text]) => m.failure(status, text).message)", answers)
    assert said == [
        "no video",
        "The server does not know this page. Open the address that sam2-video app printed.",
        "The server answered 500.",
        "The server answered 404.",
    ]
