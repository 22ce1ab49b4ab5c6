"""SupContrast (HobbitLong/SupContrast): its own ResNet, for pictures of 32 pixels."""

from ssljax.weights.forms import COUNTED, RESNET_ROWS
from ssljax.weights.tables import Family, Form, Pictures

ROWS = tuple(
  row._replace(theirs=row.theirs.replace("downsample", "shortcut"))
  for row in RESNET_ROWS
)

FAMILY = Family(
  "SupContrast: ResNet of 3x3 stem, `encoder.module.`",
  (Form(ROWS),),
  Pictures((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), size=32, crop=1.0),
  prefixes=("encoder.module.", "encoder.", "module.encoder."),
  beside=("*head.*", "fc.*", COUNTED),
)
