"""What a lane remembers of stored questions that had labels: as much as there is room for."""

from embeddings.control.kinship import MOST, Kinship


def test_records_and_links_are_bounded_and_the_latest_are_kept() -> None:
    kinship = Kinship()
    kinship.note("asked again and again", is_right=True)
    for number in range(MOST + 10):
        kinship.note(f"question {number}", is_right=False)
        kinship.link(f"question {number}", f"its paraphrase {number}")
        if number % 1000 == 0:
            kinship.note("asked again and again", is_right=True)

    assert kinship.record("asked again and again") == (1 + MOST // 1000 + 1, 0)
    assert kinship.record("question 0") == (0, 0)
    assert kinship.record(f"its paraphrase {MOST}") == (0, 1)
    assert len(kinship._came) <= MOST
    assert len(kinship._parent) <= MOST
