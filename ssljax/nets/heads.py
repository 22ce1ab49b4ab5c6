"""What stands on an encoder: projector, predictor, prototypes, and the whole."""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, NotNegative, OneOf, Range
from ssljax.nets import inits
from ssljax.nets.activations import ACTIVATIONS
from ssljax.nets.module import Module
from ssljax.nets.norm import BatchNorm, ChannelNorm

# last_norm -> has scale, has bias
LAST_NORMS = {"affine": (True, True), "scale": (True, False), "plain": (False, False)}


class MLP(Module):
  """A multi-layer perceptron, as projector or predictor.

  `layers` linear maps; all but the last are followed by BatchNorm (if `norm`) and
  the activation. `last_norm` puts a BatchNorm after the last: "affine", "scale"
  (no bias), "plain" (neither), or "none". `last_activation` ends with the activation,
  so that the first layers of a longer head are a head too, with the same parameters.
  The published heads:

    MoCo v1, InstDisc  layers=1, out=128
    MoCo v2, SupCon    layers=2, hidden=2048, out=128, norm=False
    SimCLR             layers=2 (v2: 3), hidden=2048 (as wide as the features),
                       out=128, hidden_bias=False, out_bias=False,
                       last_norm="scale", init_std=0.01; v2 is fine-tuned from its
                       first layer: layers=1, out=2048, out_bias=False,
                       last_norm="affine", last_activation=True
    BYOL               layers=2, hidden=4096, out=256, out_bias=False, start="haiku"
    SwAV               layers=2, hidden=2048, out=128
    SimSiam            layers=3, hidden=2048, out=2048, hidden_bias=False,
                       out_bias=False, last_norm="plain"; its predictor: layers=2,
                       hidden=512, out=2048, hidden_bias=False
    MoCo v3            layers=2 (ViT: 3), hidden=4096, out=256, hidden_bias=False,
                       out_bias=False, last_norm="plain"; the predictor of a ResNet
                       has last_norm="none"
    DINO               layers=3, hidden=2048, out=256, norm=False,
                       activation="gelu", init_std=0.02

  Weights start by `start`, a name in `inits.KERNELS`: kernels and biases uniform in
  ±1/sqrt(fan_in) as PyTorch's; or with `init_std` kernels are normal, biases 0.
  """

  layers: Count
  out: Count
  hidden: Count = 2048
  norm: bool = True
  last_norm: Annotated[str, OneOf(("none", *LAST_NORMS))] = "none"
  last_activation: bool = False
  hidden_bias: bool = True
  out_bias: bool = True
  activation: Annotated[str, OneOf(ACTIVATIONS)] = "relu"
  start: Annotated[str, OneOf(inits.KERNELS)] = "torch"
  init_std: NotNegative = 0.0  # 0: by `start`
  bn_group_size: Annotated[int, Range(2, and_zero=True)] = 0
  bn_strided: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Projects [...,D] -> [...,out] in `dtype`."""
    for i in range(1, self.layers):
      x = self._dense(x, self.hidden, self.hidden_bias, f"fc{i}")
      if self.norm:
        x = self._norm(True, True, f"bn{i}")(x, train)
      x = ACTIVATIONS[self.activation](x)
    x = self._dense(x, self.out, self.out_bias, f"fc{self.layers}")
    if self.last_norm != "none":
      x = self._norm(*LAST_NORMS[self.last_norm], f"bn{self.layers}")(x, train)
    if self.last_activation:
      x = ACTIVATIONS[self.activation](x)
    return x

  def _dense(self, x, features: int, use_bias: bool, name: str) -> jax.Array:
    initial = _initial(self.start, self.init_std, x.shape[-1])
    return nn.Dense(features, use_bias, dtype=self.dtype, name=name, **initial)(x)

  def _norm(self, use_scale: bool, use_bias: bool, name: str) -> nn.Module:
    return BatchNorm(
      group_size=self.bn_group_size,
      strided=self.bn_strided,
      use_scale=use_scale,
      use_bias=use_bias,
      dtype=self.dtype,
      name=name,
    )


class Classifier(Module):
  """Scores of classes, linear in the input; how many is filled from the data.

  Weights start by `start`, a name in `inits.KERNELS`: kernel and bias uniform in
  ±1/sqrt(fan_in) as PyTorch's; or with `init_std` the kernel is normal, the bias 0.
  `norm` normalises each example first, as MAE's fine-tuning does.
  """

  num_classes: int
  norm: bool = False
  start: Annotated[str, OneOf(inits.KERNELS)] = "torch"
  init_std: NotNegative = 0.0  # 0: by `start`
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Scores [...,D] -> logits [...,num_classes] in `dtype`."""
    if self.norm:
      x = ChannelNorm(name="norm")(x)
    initial = _initial(self.start, self.init_std, x.shape[-1])
    return nn.Dense(self.num_classes, dtype=self.dtype, **initial)(x)


class Prototypes(Module):
  """Scores of l2-normalised inputs against `num` learned prototypes.

  With `weight_norm` every prototype is normalised too: DINO's last layer (Caron et al.
  2021) with its gain fixed at 1, or with `gain` learned from there (its
  `norm_last_layer false`). Without, the kernel is used as it is, for methods that
  normalise the prototypes themselves (SwAV).
  """

  num: Annotated[int, Range(2)]
  weight_norm: bool = True
  gain: bool = False
  use_bias: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Scores [...,D] against prototypes -> logits [...,num] float32."""
    initial = _initial("torch", 0.0, x.shape[-1])
    kernel = self.param("kernel", initial["kernel_init"], (x.shape[-1], self.num))
    if self.weight_norm:
      kernel = l2_normalise(kernel, axis=0)
    x = l2_normalise(x.astype(jnp.float32), axis=-1)
    y = _to_float32(x.astype(self.dtype), kernel.astype(self.dtype))
    like = (1,) * (y.ndim - 1) + (self.num,)
    if self.gain:  # of two axes, as PyTorch's: DINO decays it
      gain = self.param("gain", nn.initializers.ones, (1, self.num))
      y = y * gain.reshape(like)
    if self.use_bias:
      y = y + self.param("bias", initial["bias_init"], (self.num,)).reshape(like)
    return y


@jax.custom_vjp
def _to_float32(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Multiplies [...,D] by [D,K] -> [...,K] f32, whatever type both have.

  Logits are divided by as little as 0.04. Gradients are products of factors of x's
  type; autodiff's are of float32 ones.
  """
  return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def _to_float32_forward(x, kernel):
  return _to_float32(x, kernel), (x, kernel)


def _to_float32_backward(saved, grad):
  x, kernel = saved
  grad = grad.astype(x.dtype)
  return jnp.matmul(grad, kernel.T), jnp.einsum("...d,...k->dk", x, grad)


_to_float32.defvjp(_to_float32_forward, _to_float32_backward)


# head -> what it reads, the first of these that there is, and what it gives
WIRES = {
  "projector": (("features",), "projection"),
  "predictor": (("projection", "features"), "prediction"),
  "prototypes": (("projection", "features"), "logits"),
  "classifier": (("projection", "features"), "logits"),
  "patch_projector": (("patches",), "patch_projection"),
  "patch_prototypes": (("patch_projection",), "patch_logits"),
  "dense_projector": (("map", "patches"), "dense_projection"),
}


class Network(nn.Module):
  """An encoder and the heads a method needs, wired as WIRES says.

  Outputs are the encoder's, "features" [B,D] and what else it gives, and those of the
  heads; absent heads leave no key. A head that is the name of another one is that
  head, with its parameters, on its own input.
  """

  encoder: nn.Module
  projector: nn.Module | None = None
  predictor: nn.Module | None = None
  prototypes: nn.Module | None = None
  classifier: nn.Module | None = None
  patch_projector: nn.Module | str | None = None
  patch_prototypes: nn.Module | str | None = None
  dense_projector: nn.Module | None = None

  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Runs encoder and heads on inputs, {"image" [B,H,W,C]} -> outputs by name, f32."""
    outputs = dict(self.encoder(x, train))
    for role, (sources, name) in WIRES.items():
      head = getattr(self, role)
      if isinstance(head, str):
        head = self._shared(role, head)
      if head is not None:
        source = self._source(role, sources, outputs)
        if source == "patches" and train and getattr(self.encoder, "token_drop", 0):
          raise ConfigError(
            f"encoder.token_drop={self.encoder.token_drop} leaves out patches, and "
            f"method.{role} reads all; set it to 0"
          )
        outputs[name] = head(outputs[source], train)
    return {name: value.astype(jnp.float32) for name, value in outputs.items()}

  def _shared(self, role: str, owner: str) -> nn.Module:
    head = getattr(self, owner, None) if owner in WIRES else None
    if not isinstance(head, nn.Module):
      raise ConfigError(
        f"method.{role}={owner!r} names no head of this method's; give it fields "
        "of its own, or the name of a head that has some"
      )
    return head

  @staticmethod
  def _source(role: str, sources: tuple[str, ...], outputs: dict) -> str:
    for source in sources:
      if source in outputs:
        return source
    raise ConfigError(
      f"method.{role} reads {' or '.join(sources)}, and there is {', '.join(outputs)}; "
      "patches are a vision transformer's, such as encoder.name=vit_s"
    )

  def strided(self) -> "Network":
    """Returns this network with strided BatchNorm groups; parameters are the same."""
    parts = {name: getattr(self, name) for name in ("encoder", *WIRES)}
    return self.clone(
      **{
        name: part.clone(bn_strided=True)
        for name, part in parts.items()
        if hasattr(part, "bn_strided")
      }
    )


def _initial(start: str, std: float, fan_in: int) -> dict[str, Callable]:
  """Picks a Dense's initializers by a name or, where it is not 0, a deviation."""
  if std:
    return {"kernel_init": nn.initializers.normal(std)}
  return {"kernel_init": inits.KERNELS[start], "bias_init": inits.bias(start, fan_in)}


def l2_normalise(x: jax.Array, axis: int) -> jax.Array:
  """Returns x / max(|x|, 1e-12) along `axis`, with a finite gradient at 0."""
  square = jnp.square(x).sum(axis, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))
