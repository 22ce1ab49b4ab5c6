import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax import memory, sharding


def test_a_queue_forgets_the_oldest_keys_first():
  queue, pointer = jnp.zeros((6, 1)), jnp.int32(0)
  for step in range(1, 5):
    queue, pointer = memory.enqueue(queue, pointer, jnp.full((2, 1), float(step)))
  assert_array_equal(queue[:, 0], [4, 4, 2, 2, 3, 3])
  assert int(pointer) == 2


def test_a_row_of_a_queue_may_hold_several_views():
  keys = jnp.arange(12.0).reshape(2, 3, 2)
  queue, pointer = memory.enqueue(jnp.zeros((6, 3, 2)), jnp.int32(2), keys)
  assert_array_equal(queue[2:4], keys)
  assert_array_equal(queue[4:], 0)
  assert int(pointer) == 4


def test_enqueue_is_mocos_official_queue():
  o = oracle("03_moco_v1_0")
  queue, pointer = jnp.asarray(o["in_queue"].T), jnp.int32(0)
  enqueue = jax.jit(memory.enqueue)
  for step, keys in enumerate(o["out_k"].astype(np.float32)):
    queue, pointer = enqueue(queue, pointer, keys)
    assert_allclose(queue, o["out_queue"][step].T, atol=1e-7)
    assert int(pointer) == o["out_queue_ptr"][step]


def test_a_batch_that_does_not_divide_the_queue_is_told_a_size_that_fits():
  with pytest.raises(ValueError, match=r"queue_size=10 must be .* of 4; try 8"):
    memory.enqueue(jnp.zeros((10, 2)), jnp.int32(0), jnp.zeros((4, 2)))


@pytest.mark.parametrize(
  "file", ["08_instdisc_linear_0", "08_instdisc_nce_0", "08_instdisc_cmcrepo_0"]
)
def test_bank_write_is_instdiscs_official_update(file):
  o = oracle(file)
  bank, write = jnp.asarray(o["in_memory"]), jax.jit(memory.bank_write)
  for step, x in enumerate(o["in_x"]):
    index = o["in_y"][step].astype(np.int32)
    bank = write(bank, index, x, float(o["hp_momentum"]))
    assert_allclose(bank, o["out_memory"][step], atol=1e-6)


def test_bank_write_moves_a_row_half_way_and_leaves_the_others():
  bank = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
  written = memory.bank_write(bank, jnp.asarray([1]), jnp.asarray([[0.0, 1.0]]), 0.5)
  assert_allclose(written, [[1, 0], [0.5**0.5, 0.5**0.5], [0, 1]], rtol=1e-6)


def test_a_bank_split_over_eight_devices_stays_so_when_written():
  mesh = sharding.make_mesh()
  bank = memory.init_bank(jax.random.key(0), 100, 4)
  index, rows = jnp.arange(0, 16), memory.unit_rows(jax.random.key(1), 16, 4)
  split = jax.device_put(bank, sharding.by_rows(mesh))
  batch = jax.device_put((index, rows), sharding.by_rows(mesh))
  written = jax.jit(memory.bank_write)(split, *batch, 0.5)
  assert written.sharding.is_equivalent_to(sharding.by_rows(mesh), 2)
  assert_allclose(written, memory.bank_write(bank, index, rows, 0.5), rtol=1e-6)


def test_a_bank_is_padded_and_starts_uniform_within_one_over_root_of_a_third_of_d():
  bank = memory.init_bank(jax.random.key(0), 1500, 48)
  assert bank.shape == (2048, 48)
  assert_allclose([bank.min(), bank.max(), bank.mean()], [-0.25, 0.25, 0], atol=1e-3)


def test_ema_and_centre_keep_decay_of_the_old():
  tree = memory.ema({"w": jnp.ones(2)}, {"w": jnp.zeros(2)}, 0.9)
  assert_allclose(tree["w"], 0.1, rtol=1e-6)
  centre = memory.move_centre(jnp.ones((1, 2)), jnp.zeros((1, 2)), 0.9)
  assert_allclose(centre, 0.9, rtol=1e-6)


def test_a_queue_starts_on_the_sphere():
  rows = memory.unit_rows(jax.random.key(0), 8, 5)
  assert_allclose(jnp.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)


def test_nearest_finds_the_row_of_the_smallest_angle_whatever_the_lengths():
  queue = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
  rows = jnp.asarray([[9.0, 8.0], [-0.1, 0.05], [0.01, 0.02]])
  assert_array_equal(memory.nearest(queue, rows), queue[np.array([0, 2, 1])])


def test_nearest_is_lightlys_neighbour_of_a_normalised_bank():
  o = oracle("12_lightly_nnclr_0")
  banks = [o["in_bank"], *o["out_bank"]]
  for step, z in enumerate(o["in_z0"]):
    queue = banks[step] / np.linalg.norm(banks[step], axis=1, keepdims=True)
    expected = o["out_nn0"][step]
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert_allclose(memory.nearest(queue, z), expected, rtol=1e-6)
