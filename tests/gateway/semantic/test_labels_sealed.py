"""Words of labels, and vectors of embeddings, that came in plain beside sealed ones are sealed at the next start."""

from pathlib import Path

from gateway.embedded.file import FileVectors
from gateway.embedded.kept import Kept
from gateway.embedded.vector import Vector
from gateway.seal import NO_SEAL, Seal
from gateway.seal.ring import KeyRing, key_of
from gateway.semantic.labels import LabelStore
from tests.gateway.curation.test_erase import MINE, bytes_of, given

ONE = KeyRing([key_of("one")])


async def test_labels_and_vectors_that_came_in_plain_since_are_sealed_at_the_next_start(tmp_path: Path) -> None:
    def stores(seal: Seal) -> tuple[LabelStore, FileVectors]:
        return LabelStore(tmp_path / "l.db", per_tenant=9, seal=seal), FileVectors(tmp_path / "v.db", 1 << 20, seal)

    sealing, plain = stores(ONE), stores(NO_SEAL)
    for store in (*sealing, *plain):
        await store.open()
    for (labels, vectors), word in ((sealing, "Xylograph"), (plain, "Quetzalfeather")):
        await labels.put(given(MINE, word))
        await vectors.put(
            [Kept(word.encode(), Vector("s", f"stored {word}".encode()), 1, "me", "m", "", "", 1.0, None, 0.1, ())]
        )
    for store in (*sealing, *plain):
        await store.close()

    again = stores(ONE)
    for store in again:
        await store.open()
        assert store._resealing is not None
        await store._resealing
        await store.close()
    assert b"stored Quetzal" not in bytes_of(tmp_path)
    settled = stores(KeyRing([*ONE.keys, key_of("two")]))
    for store in settled:
        await store.open()
        assert store._resealing is None
    assert sorted(kept.label.question for kept in await settled[0].read(MINE)) == ["Quetzalfeather", "Xylograph"]
    for store in settled:
        await store.close()
