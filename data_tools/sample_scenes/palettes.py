"""Palettes of the furnished scenes."""

from omniseg_sample_scenes.furniture import Palette

PALETTES = (
    Palette(
        wall=("#e9e1d1", "#cfbe9f"),
        accent=("#b5785f", "#d6c7b4"),
        floor=("#c39a6b", "#94683f"),
        wood=("#c89b68", "#9a6c3d"),
        dark_wood=("#7a5135", "#553521"),
        sofa=("#35686a", "#437c7c"),
        cushions=(("#d9a03f", "#e6b75c"), ("#c4623f", "#d98460"), ("#efe3cd", "#2f6b6d")),
        rug=("#e4d6bd", "#9c4a35"),
        pad=("#cf9a45", "#dcae61"),
        curtain=("#dcc9a8", "#c5ac84"),
        pot=("#b9673f", "#cf8a60"),
        books=("#8c3b2e", "#2f5d62", "#d2a24c", "#33415c", "#6b7f4e", "#e2d4b7", "#a4563b", "#4a2f3a"),
    ),
    Palette(
        wall=("#e2e3d6", "#aab594"),
        accent=("#a8826d", "#dccbb8"),
        floor=("#b98f63", "#8b6440"),
        wood=("#d1a877", "#a57c4d"),
        dark_wood=("#6e4d3a", "#4a3226"),
        sofa=("#b06a55", "#c07b66"),
        cushions=(("#e9dcc6", "#6d8264"), ("#6d8264", "#889c7c"), ("#d8b26a", "#e6c88c")),
        rug=("#e8dfcb", "#4f6b58"),
        pad=("#6d8264", "#82967a"),
        curtain=("#e8dcc8", "#d2bfa2"),
        pot=("#e4ddd0", "#c8bca8"),
        books=("#4f6b58", "#c57b57", "#e0c48a", "#56423d", "#8fa08a", "#ece2cf", "#96503f", "#39515c"),
    ),
    Palette(
        wall=("#e9e0d4", "#bfa68c"),
        accent=("#7c8da0", "#cfd3d4"),
        floor=("#bd9468", "#8c6643"),
        wood=("#c79f70", "#987046"),
        dark_wood=("#5f4535", "#423026"),
        sofa=("#bf9d55", "#cdae6a"),
        cushions=(("#33496b", "#4a648c"), ("#e9e0d0", "#33496b"), ("#b9603f", "#cf7f5d")),
        rug=("#e6dccb", "#33496b"),
        pad=("#4a648c", "#5f789e"),
        curtain=("#cfd6d8", "#aebac0"),
        pot=("#33496b", "#55709a"),
        books=("#33496b", "#c6a24f", "#7d2f2c", "#dfd3be", "#4f7072", "#a55a3c", "#22303f", "#c9b08a"),
    ),
)
