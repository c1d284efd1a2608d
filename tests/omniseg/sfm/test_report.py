from pathlib import Path

import pytest

from omniseg.errors import InputError
from omniseg.sfm.report import Facts, ImageFacts, PoseReport, judge

ROOT = Path("scenes/desk")


def facts(images, **others) -> Facts:
    values = {
        "models": (sum(image.registered for image in images),),
        "points": 5000,
        "error": 0.8,
        "parallax": 20.0,
        "flat_pairs": 0.0,
    }
    return Facts(images=tuple(images), **{**values, **others})


def image(k: int, registered: bool = True, features: int = 4000, partners: int = 9) -> ImageFacts:
    return ImageFacts(f"{k}.jpg", features, partners, registered)


def report(facts: Facts, unsharp=(), **others) -> PoseReport:
    sharpness = {i.name: 1.0 if i.name in unsharp else 100.0 for i in facts.images}
    return judge(ROOT, facts, sharpness, **{"is_video": False, **others})


def test_good_poses_are_one_line():
    assert str(report(facts([image(k) for k in range(10)]))) == (
        "scenes/desk: 10 of 10 images registered, mean reprojection error 0.80 pixels, 5000 points, "
        "parallax 20.0 degrees"
    )


def test_images_without_a_pose_are_named_with_a_reason():
    images = [image(k) for k in range(6)]
    images += [image(6, False), image(7, False, features=90), image(8, False, partners=1), image(9, False, 0, 0)]
    found = report(facts(images), unsharp={"6.jpg"})
    assert found.failed == {
        "6.jpg": "blurred",
        "7.jpg": "only 90 features: blurred, dark or without texture",
        "8.jpg": "shares details with 1 other images: too little overlap",
        "9.jpg": "no features: it is dark, plain, or does not open",
    }
    lines = str(found).splitlines()
    assert lines[1] == "  without a pose: 6.jpg (blurred)"
    assert lines[-2] == (
        "  warning: 1 image (6.jpg) is blurred, which blurs the scene: hold the camera still, in more light"
    )
    assert "4 images (6.jpg, 7.jpg, 8.jpg, ...) are without a pose" in lines[-1]
    assert "more photos between their neighbours" in lines[-1]
    assert "a larger --frames" in str(report(facts(images), is_video=True))


def test_many_failures_are_counted():
    found = report(facts([image(k, k < 10) for k in range(18)]))
    assert str(found).count("without a pose: ") == 5
    assert "and 3 more, all in poses.json" in str(found)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"parallax": 2.0}, "little parallax (2.0 degrees)"),
        ({"error": 3.21}, "error of 3.2 pixels"),
        ({"models": (10, 4, 3)}, "fall into 3 parts without enough overlap; the largest is kept, 7 poses"),
    ],
)
def test_what_makes_poses_doubtful_is_a_warning(others, said):
    found = report(facts([image(k) for k in range(10)], **others))
    assert len(found.warnings) == 1
    assert said in found.warnings[0]


def test_photos_stored_sideways_are_a_warning():
    (warning,) = report(facts([image(k) for k in range(4)]), sideways=3).warnings
    assert warning.startswith("3 photos are stored sideways")


def refusal(facts: Facts, **others) -> str:
    with pytest.raises(InputError) as raised:
        report(facts, **others)
    return str(raised.value)


def test_half_of_the_images_is_enough_and_fewer_are_refused():
    assert report(facts([image(k, k < 5) for k in range(10)])).n_registered == 5
    assert refusal(facts([image(k, k < 4) for k in range(10)])).startswith(
        "scenes/desk: only 4 of 10 images can be registered (not 4.jpg: its matches fit no pose"
    )


def test_the_advice_of_a_refusal_follows_from_the_cause():
    failed = [image(k, False) for k in range(10)]
    assert "Try --sfm.mapper global" in refusal(facts(failed, points=0))
    assert "walk around the subject" in refusal(facts(failed, points=0, flat_pairs=0.9))
    assert "walk around the subject" in refusal(facts([image(k) for k in range(10)], points=0))
    assert "Too few details" in refusal(facts([image(k, False, 100) for k in range(10)], points=0))
    assert "Too few details" in refusal(facts(failed, points=0), unsharp={"1.jpg", "2.jpg", "3.jpg"})
    assert "should share two thirds" in refusal(facts([image(k, False, partners=1) for k in range(10)], points=0))
    assert "film more slowly" in refusal(facts([image(k, False, partners=1) for k in range(10)]), is_video=True)


def test_a_report_survives_a_file():
    found = report(facts([image(k, k < 8) for k in range(10)], parallax=1.0))
    assert PoseReport.from_dict(ROOT, found.to_dict() | {"root": "elsewhere"}) == found
