"""The bundled model: how its pages are made, how it is trained and measured. Its checkpoint lies in checkpoint/."""
