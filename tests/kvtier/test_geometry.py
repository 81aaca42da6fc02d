import pytest

from kvtier.geometry import KVGeometry


@pytest.mark.parametrize(
    ("geometry", "bytes_per_token", "block_bytes"),
    [
        (KVGeometry(30, 3, 64, "bfloat16"), 23_040, 737_280),  # SmolLM2-135M
        (KVGeometry(24, 2, 64, "bfloat16"), 12_288, 393_216),  # Qwen2.5-0.5B
        (KVGeometry(16, 8, 64, "float32", block_tokens=16), 65_536, 1_048_576),
    ],
)
def test_bytes_count_keys_and_values_of_every_layer(
    geometry: KVGeometry, bytes_per_token: int, block_bytes: int
) -> None:
    assert (geometry.bytes_per_token, geometry.block_bytes) == (bytes_per_token, block_bytes)


@pytest.mark.parametrize(
    "other",
    [
        KVGeometry(31, 3, 64, "bfloat16"),
        KVGeometry(30, 6, 32, "bfloat16"),
        KVGeometry(30, 3, 64, "float16"),
        KVGeometry(30, 3, 64, "bfloat16", block_tokens=16),
    ],
)
def test_two_layouts_have_two_digests(other: KVGeometry) -> None:
    assert other.digest != KVGeometry(30, 3, 64, "bfloat16").digest
    assert len(other.digest) == 16


def test_a_senseless_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="head_dim 0"):
        KVGeometry(30, 3, 0, "bfloat16")
    with pytest.raises(ValueError, match="int8"):
        KVGeometry(30, 3, 64, "int8")
