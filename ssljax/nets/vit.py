"""Vision transformer (Dosovitskiy et al. 2021) as MoCo v3, DINO and MAE use it."""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, NotNegative, Number, OneOf, Positive, Range
from ssljax.nets import inits, kept, positions
from ssljax.nets.activations import ACTIVATIONS
from ssljax.nets.attention import IMPLEMENTATIONS
from ssljax.nets.conv import Conv
from ssljax.nets.module import Encoder, folded
from ssljax.nets.norm import ChannelNorm
from ssljax.nets.readouts import readouts
from ssljax.nets.relative import RelativeBias
from ssljax.nets.transformer import MLPS, AttentionPool, Block

POSITIONS = ("sincos", "sincos_columns", "learned", "rope", "relative")
BARE = ("rope", "relative")  # whose tokens are given no table
POOLS = ("cls", "mean", "raw_mean", "mean_norm", "attention", "cls_mean", "cls4_mean")
READ = {"cls_mean": 1, "cls4_mean": 4}  # readouts -> of how many blocks
RAW = ("raw_mean", "mean_norm")  # whose tokens no final norm has seen

Factor = Annotated[float, Range(1, and_zero=True)]


class ViT(Encoder):
  """Vision transformer with a class token.

  position="sincos" is MoCo v3's (Chen et al. 2021): a fixed 2-D table and Xavier
  kernels, those of q, k and v each by itself. "learned" is DINO's (Caron et al. 2021):
  positions learned at `image_size`, interpolated for images of other sizes, and
  normal(0.02) kernels. "sincos_columns" is MAE's (He et al. 2022): a fixed table that
  starts with the columns, and Xavier kernels, those of q, k and v as one. "rope" is
  DINOv3's (Siméoni et al. 2025): no table, queries and keys of patches rotated in every
  block, in a box that varies with "keys" (`positions.varied_rotary`), and normal(0.02)
  kernels; any size of picture will do. "relative" is BEiT's: no table, a bias that all
  blocks share (`relative.RelativeBias`), learned at `image_size`, and such kernels.
  With `stop_grad_patch` the patch projection stays at its random start (MoCo v3,
  section 4.2). `drop_path` grows over the blocks to its value, or is the same in all
  with `drop_path_uniform` (DINOv2), and needs "keys" among the inputs.
  pool="raw_mean" is the mean of patches that no final norm has seen: MAE's fine-tuning,
  whose classifier brings one; "mean_norm" has the norm behind the mean; "attention"
  reads patches off by a learned query (`transformer.AttentionPool`); "cls_mean" and
  "cls4_mean" are what DINOv2's linear heads read (`nets.readouts`).

  Parameters are float32, and so is the residual stream whatever `dtype` is, as in the
  papers' codes: their autocast adds to float32 positions. With `remat` a block keeps
  its input alone and is computed once more for the gradient.

  Tokens are the class token (I-JEPA has none: `class_token=False`), `registers` (Darcet
  et al. 2024) and the patches in the rows of their grid. With `mask_token` hidden
  patches are replaced by a learned one (SimMIM, iBOT). While it learns a share of
  patches, `token_drop`, is left out by "keys" (FLIP, PatchDropout): a teacher, which
  has none, sees all. ConfigError where the method hides patches itself.

  The collection "intermediates" gives who asks for it, block by block, "tokens" as the
  outputs name them, after the final norm, and "attention" [B,heads,T,T] of all T
  tokens, patches last; at the end that of the query that pools. `attention="xla"` takes
  no other program's attention (see `attention.attend`). ConfigError if patches do not
  tile the image.
  """

  width: Count
  depth: Count
  heads: Count
  patch_size: Count = 16
  mlp_ratio: Positive = 4.0
  position: Annotated[str, OneOf(POSITIONS)] = "sincos"
  image_size: Count = 224  # pixels; where learned and relative positions live
  pool: Annotated[str, OneOf(POOLS)] = "cls"
  class_token: bool = True
  registers: Number = 0
  init_std: NotNegative = 0.0  # of normal kernels; 0: as `position` says
  mask_token: bool = False
  drop_path: Annotated[float, Range(0, below=1)] = 0.0
  drop_path_uniform: bool = False
  token_drop: Annotated[float, Range(0, below=1)] = 0.0
  stop_grad_patch: bool = False
  # What released weights differ in (docs/weights.md).
  epsilon: Positive = 1e-6  # of norms; CLIP 1e-5, Hugging Face's ViT 1e-12
  activation: Annotated[str, OneOf(ACTIVATIONS)] = "gelu"  # OpenAI's CLIP quick_gelu
  mlp: Annotated[str, OneOf(MLPS)] = "plain"  # DINOv2-g: swiglu
  layer_scale: NotNegative = 0.0  # its start; 0: none (Touvron et al. 2021; DINOv2)
  pre_norm: bool = False  # before the first block (CLIP)
  patch_bias: bool = True  # CLIP has none
  qkv_bias: bool = True
  key_bias: bool = True  # DINOv3: False
  rope_base: Positive = 100.0  # longest wavelength of rotary positions (DINOv3)
  rope_shift: NotNegative = 0.0  # of their box, by example and block; 0: none
  rope_jitter: Factor = 0.0
  rope_rescale: Factor = 0.0  # DINOv3: 2
  resize: Annotated[str, OneOf(positions.RESIZES)] = "by_scale"  # of learned positions
  out: Number = 0  # features of a linear map (CLIP); 0: none, they are `width`
  attention: Annotated[str, OneOf(IMPLEMENTATIONS)] = "auto"
  remat: bool = False
  dtype: Any = jnp.float32

  @property
  def layers(self) -> tuple[tuple[str, ...], ...]:
    """The names of what makes the tokens, then of block by block."""
    blocks = ((f"block{i}",) for i in range(self.depth))
    # Without relative positions, which all blocks share: as the last of them, in BEiT's
    # and SimMIM's layer decay.
    first = "patch", "cls", "position", "registers", "mask", "pre_norm"
    return first, *blocks

  @nn.compact
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes some or all patches of pictures -> features of the whole, and of each.

    Inputs are "image" [B,H,W,C]; "keep" i32 [B,n], the patches seen, by their number in
    the rows of the grid, else all; "seen" i32 [B], how many of "keep" really are, the
    others only fill the array; "mask" bool [B,N], those hidden by the mask token;
    "keys" [B] for drop path. Outputs, float32: "features" [B,D], "patches" [B,N or
    n,D], and where it has such "cls" [B,D], "registers" [B,R,D].
    """
    image, keys, seen = x["image"], x.get("keys"), x.get("seen")
    self._validate(image.shape)
    inputs = image.shape[-1] * self.patch_size**2
    kernels = inits.of_tokens(self.position, self.width, inputs, self.init_std)
    qkv_init, dense_init, patch_init = kernels
    patches = Conv(
      self.width,
      self.patch_size,
      stride=self.patch_size,
      padding=0,
      use_bias=self.patch_bias,
      kernel_init=patch_init,
      dtype=self.dtype,
      name="patch",
    )(image)
    if self.stop_grad_patch:
      patches = jax.lax.stop_gradient(patches)
    batch, height, width, _ = patches.shape
    patches = patches.reshape(batch, height * width, self.width).astype(jnp.float32)
    if "mask" in x and not self.mask_token:
      raise ConfigError(
        "encoder.mask_token must be True: the method hides patches by it"
      )
    if self.mask_token:
      token = self.param("mask", nn.initializers.normal(0.02), (1, 1, self.width))
      if "mask" in x:
        patches = jnp.where(x["mask"][:, :, None], token, patches)
    if train and self.token_drop:
      x = kept.thinned(x, height * width, self.token_drop, self.depth)
    keep = x.get("keep")
    table = self._position(height, width)
    patches = patches + table[:, self.class_token :]
    angles = self._angles(height, width, keep)
    bias = None
    if self.position == "relative":
      grid = self.image_size // self.patch_size, self.class_token + self.registers
      relative = RelativeBias(self.heads, *grid, self.resize, name="relative")
      bias = relative(height, width, keep)
    if keep is not None:
      patches = jnp.take_along_axis(patches, keep[..., None], axis=1)
    first = self._first(table)
    first = [jnp.broadcast_to(part, (batch, *part.shape[1:])) for part in first]
    x = jnp.concatenate([*first, patches], axis=1)
    length = None if seen is None else x.shape[1] - patches.shape[1] + seen
    if self.pre_norm:
      x = ChannelNorm(self.epsilon, name="pre_norm")(x)
    norm = ChannelNorm(self.epsilon, name="norm")
    asked = self.is_mutable_collection("intermediates")
    block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
    first_read, blocks = self.depth - READ.get(self.pool, 1), []
    for i in range(self.depth):
      block_keys = folded(keys, i)
      varied = self.rope_shift or self.rope_jitter or self.rope_rescale
      if varied and keys is not None:
        angles = self._angles(height, width, keep, block_keys)
      x, maps = block(
        self.heads,
        self.mlp_ratio,
        qkv_init,
        dense_init,
        self.drop_path * (self.drop_path_uniform or i / max(1, self.depth - 1)),
        self.dtype,
        activation=self.activation,
        attention=self.attention,
        maps=asked,
        epsilon=self.epsilon,
        layer_scale=self.layer_scale,
        mlp=self.mlp,
        qkv_bias=self.qkv_bias,
        key_bias=self.key_bias,
        name=f"block{i}",
      )(x, train, block_keys, length, angles, bias)
      if asked or i >= first_read:
        tokens = self._named(x if self.pool in RAW else norm(x))
        blocks.append(tokens)
        self.sow("intermediates", "tokens", tokens)
        self.sow("intermediates", "attention", maps)
    if self.pool == "attention":
      numbers = self.heads, self.mlp_ratio, dense_init, self.dtype
      pool = AttentionPool(*numbers, self.activation, self.epsilon, name="pool")
      pooled, maps = pool(tokens["patches"], seen)
      self.sow("intermediates", "attention", maps)
    elif self.pool in READ:
      pooled = readouts(blocks)[self.pool]
    else:
      of_patches = kept.mean(tokens["patches"], seen)
      pooled = tokens["cls"] if self.pool == "cls" else of_patches
    if self.pool == "mean_norm":
      pooled = norm(pooled)
    if self.out:
      pooled = nn.Dense(self.out, False, kernel_init=dense_init, name="proj")(pooled)
    return {"features": pooled, **tokens}

  def _named(self, tokens: jax.Array) -> dict[str, jax.Array]:
    """Names tokens [B,1+R+N,D]: "cls", "registers", "patches"."""
    first = int(self.class_token)
    named = {"patches": tokens[:, first + self.registers :]}
    if self.class_token:
      named["cls"] = tokens[:, 0]
    if self.registers:
      named["registers"] = tokens[:, first : first + self.registers]
    return named

  def _first(self, table: jax.Array) -> list[jax.Array]:
    """Makes what stands before the patches, of a `table` of positions: [1,n,D] each."""
    first = []
    if self.class_token:
      cls_init = nn.initializers.normal(1e-6 if self.position == "sincos" else 0.02)
      first.append(self.param("cls", cls_init, (1, 1, self.width)) + table[:, :1])
    if self.registers:
      shape = (1, self.registers, self.width)
      first.append(self.param("registers", nn.initializers.normal(1e-6), shape))
    return first

  def _position(self, height: int, width: int) -> jax.Array:
    """Makes position embeddings for a grid of height x width patches, [1,1+N,D].

    The class token's comes first, where there is one.
    """
    first = int(self.class_token)
    if self.position in BARE:
      return jnp.zeros((1, first + height * width, 1))
    if self.position != "learned":
      columns = self.position == "sincos_columns"
      table = positions.sincos(height, width, self.width, column_first=columns)
      return jnp.pad(table, ((first, 0), (0, 0)))[None]  # none for the class token
    grid = self.image_size // self.patch_size
    shape = (1, first + grid * grid, self.width)
    table = self.param("position", nn.initializers.normal(0.02), shape)
    if (height, width) == (grid, grid):
      return table
    patches = table[0, first:].reshape(grid, grid, -1)
    patches = positions.resize_positions(patches, height, width, self.resize)
    patches = patches.reshape(1, -1, self.width)
    return jnp.concatenate([table[:, :first], patches], axis=1)

  def _angles(self, height: int, width: int, keep, keys=None) -> jax.Array | None:
    """Makes the angles [1 or B,T,d] of all tokens; those before patches stay at 0."""
    if self.position != "rope":
      return None
    numbers = height, width, self.width // self.heads, self.rope_base
    changes = self.rope_shift, self.rope_jitter, self.rope_rescale
    angles = positions.rotary(*numbers)[None]
    if keys is not None:
      angles = positions.varied_rotary(keys, *numbers, *changes)
    if keep is not None:
      angles = jnp.take_along_axis(angles, keep[..., None], axis=1)
    return jnp.pad(angles, ((0, 0), (self.class_token + self.registers, 0), (0, 0)))

  def _validate(self, shape: tuple[int, ...]) -> None:
    if self.pool == "cls" and not self.class_token:
      raise ConfigError(
        "encoder.pool='cls' needs encoder.class_token=True; try pool='mean'"
      )
    by_size = self.position in ("learned", "relative")
    size = self.image_size if by_size else self.patch_size
    for pixels in (*shape[1:3], size):
      if pixels % self.patch_size:
        raise ConfigError(
          f"encoder.patch_size={self.patch_size} must divide the image's {pixels} "
          f"pixels; try images of {max(1, pixels // self.patch_size) * self.patch_size}"
        )


ViT_Ti = partial(ViT, width=192, depth=12, heads=3)
ViT_S = partial(ViT, width=384, depth=12, heads=6)  # MoCo v3: heads=12
ViT_B = partial(ViT, width=768, depth=12, heads=12)
ViT_L = partial(ViT, width=1024, depth=24, heads=16)
ViT_H = partial(ViT, width=1280, depth=32, heads=16)
# With SwiGLU: DINOv3's H+ and 7B, DINOv2's g.
ViT_Hplus = partial(ViT, width=1280, depth=32, heads=20, mlp="swiglu")
ViT_g = partial(ViT, width=1536, depth=40, heads=24, mlp="swiglu", mlp_ratio=8 / 3)
ViT_7B = partial(ViT, width=4096, depth=40, heads=32, mlp="swiglu", mlp_ratio=2.0)
