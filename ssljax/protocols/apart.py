"""Commands that judge no single checkpoint, by a config's field `evaluator`."""

from ssljax.protocols import prepare, side_by_side, weights_in, weights_out

APART = {
  "compare": side_by_side,
  "prepare": prepare,
  "load_weights": weights_in,
  "save_weights": weights_out,
}
