"""A mind in one process, without Ray: feed, settle, ask, look at the map."""

from tori.events.document import Document
from tori.local import LocalSystem

NOTES = {
    "cache-1": "We decided to keep the query cache in memory. The query cache is rebuilt after every deploy.",
    "cache-2": "The query cache made the nightly deploy slow, so its warm-up now runs in the background.",
    "garden-1": "Rose pruning starts in March. The rose bed needs lime before the first frost.",
    "garden-2": "After rose pruning the rose bed is covered with straw until the last frost is over.",
}


def main() -> None:
    with LocalSystem() as mind:
        mind.ingest(Document(name, name, text) for name, text in NOTES.items())
        digest = mind.quiesce()
        (answer, *_) = mind.query("braid", "ask", {"question": "why was the deploy slow?"})["answers"]
        print(f"{answer['id']}: {answer['quote']}")
        print("concepts:", ", ".join(c["label"] for c in mind.query("reader", "concepts", {"limit": 5})))
        print("digest:", digest[:16])


if __name__ == "__main__":
    main()
