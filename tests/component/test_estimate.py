"""Draw Pose, Estimate Depth and Estimate Pose inside ComfyUI, with small random networks of the real classes."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from node_call import run_node


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models directory with one folder of each kind, with random weights."""
    import folder_paths
    import transformers as t

    root = tmp_path_factory.mktemp("models")
    folder = root / "transformers"
    torch.manual_seed(0)
    vit = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    backbone = t.Dinov2Config(**vit, out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False)
    head = {
        "reassemble_hidden_size": 32,
        "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 8,
        "patch_size": 14,
    }
    processor = t.DPTImageProcessor(size={"height": 56, "width": 56}, ensure_multiple_of=14, keep_aspect_ratio=True)
    for name, extra in (("relative", {}), ("metric", {"depth_estimation_type": "metric", "max_depth": 20})):
        config = t.DepthAnythingConfig(backbone_config=backbone, head_hidden_size=8, **head, **extra)
        _save(t.DepthAnythingForDepthEstimation(config), processor, folder / name)
    config = t.DPTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
    )
    _save(t.DPTForDepthEstimation(config), t.DPTImageProcessor(size={"height": 32, "width": 32}), folder / "dpt")

    for name, experts in (("vitpose", 1), ("vitpose-plus", 2)):
        config = t.VitPoseConfig(
            backbone_config=t.VitPoseBackboneConfig(
                image_size=[64, 48],
                patch_size=[16, 16],
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_experts=experts,
                part_features=16,
                out_indices=[2],
            ),
            num_labels=17,
            use_simple_decoder=True,
        )
        _save(
            t.VitPoseForPoseEstimation(config), t.VitPoseImageProcessor(size={"height": 64, "width": 48}), folder / name
        )

    resnet = t.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic"
    )
    resnet.out_features = ["stage2", "stage3", "stage4"]
    config = t.RTDetrConfig(
        backbone_config=resnet,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 16, 16],
        feat_strides=[8, 16, 32],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        num_queries=12,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        num_labels=2,
        id2label={0: "person", 1: "bicycle"},
        anchor_image_size=None,
    )
    _save(
        t.RTDetrForObjectDetection(config), t.RTDetrImageProcessor(size={"height": 64, "width": 64}), folder / "rtdetr"
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_paths, "models_dir", str(root))
        yield folder


def _save(model, processor, path: Path) -> None:
    model.eval().save_pretrained(path)
    processor.save_pretrained(path)


@pytest.fixture
def offline(monkeypatch):
    """Any attempt to reach another machine fails the test."""

    def refuse(*args, **kwargs):
        pytest.fail("a node opened a network connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def nodes():
    from retrace_pack.nodes import estimate

    return estimate


def _images(count=2, height=70, width=90):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 7, 9, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1).movedim(1, -1)


@pytest.mark.parametrize("name", ["relative", "metric", "dpt"])
def test_depth_is_a_stretched_picture_of_the_image_size(models, nodes, offline, name):
    images = _images()
    depth = run_node(nodes.RetraceEstimateDepth, image=images, model=name).args[0]
    assert depth.shape == images.shape and depth.dtype == torch.float32
    for picture in depth:
        assert picture.min() == 0.0 and abs(picture.max() - 1.0) < 1e-6
        assert torch.equal(picture[..., 0], picture[..., 2])


def test_depth_is_what_transformers_gives(models, nodes):
    import transformers

    image = _images(1)
    processor = transformers.AutoImageProcessor.from_pretrained(models / "relative")
    network = transformers.AutoModelForDepthEstimation.from_pretrained(models / "relative")
    with torch.inference_mode():
        pixels = processor(np.rint(image[0].numpy() * 255).astype(np.uint8), return_tensors="pt")
        raw = network(**pixels).predicted_depth
    raw = torch.nn.functional.interpolate(raw[:, None], (70, 90), mode="bicubic", align_corners=False)[0, 0]
    depth = run_node(nodes.RetraceEstimateDepth, image=image, model="relative").args[0]
    torch.testing.assert_close(depth[0, ..., 0], (raw - raw.min()) / (raw.max() - raw.min()), rtol=0, atol=1e-5)


def test_metric_depth_is_turned_so_that_near_is_white(models, nodes):
    from retrace_pack.host.transformers_models import DEPTH, load_network
    from retrace_pack.preprocessors.pixels import as_rgb8

    image = _images(1)
    network = load_network(DEPTH, "metric")
    pixels = network.processor(images=as_rgb8(image[0].numpy()), return_tensors="pt")["pixel_values"]
    meters = torch.nn.functional.interpolate(
        network.evaluate(pixels).predicted_depth[:, None], (70, 90), mode="bicubic"
    )
    depth = run_node(nodes.RetraceEstimateDepth, image=image, model="metric").args[0]
    assert torch.corrcoef(torch.stack([meters.flatten(), depth[0, ..., 0].flatten()]))[0, 1] < -0.9


def test_a_batch_is_a_loop_and_a_whole_batch_shares_one_range(models, nodes):
    images = _images(3)
    images[1] = images[1] * 0.1
    alone = torch.cat(
        [run_node(nodes.RetraceEstimateDepth, image=image[None], model="relative").args[0] for image in images]
    )
    assert torch.equal(run_node(nodes.RetraceEstimateDepth, image=images, model="relative").args[0], alone)
    shared = run_node(nodes.RetraceEstimateDepth, image=images, model="relative", stretch="whole batch").args[0]
    assert shared.min() == 0.0 and abs(shared.max() - 1.0) < 1e-6
    ranges = [float(picture.max() - picture.min()) for picture in shared]
    assert min(ranges) < 0.98


def test_a_model_is_read_once_until_its_files_change(models, nodes, monkeypatch):
    import transformers

    image = _images(1)
    first = run_node(nodes.RetraceEstimateDepth, image=image, model="dpt").args[0]
    reads = []
    read = transformers.AutoModelForDepthEstimation.from_pretrained
    monkeypatch.setattr(
        transformers.AutoModelForDepthEstimation,
        "from_pretrained",
        lambda path, **options: (reads.append(path), read(path, **options))[1],
    )
    assert torch.equal(run_node(nodes.RetraceEstimateDepth, image=image, model="dpt").args[0], first)
    assert reads == []
    (models / "dpt" / "config.json").touch()
    assert torch.equal(run_node(nodes.RetraceEstimateDepth, image=image, model="dpt").args[0], first)
    assert reads == [str(models / "dpt")]


def test_comfyui_loads_and_unloads_the_network(models, nodes):
    import comfy.model_management as management
    from retrace_pack.host.transformers_models import DEPTH, load_network

    image = _images(1)
    first = run_node(nodes.RetraceEstimateDepth, image=image, model="relative").args[0]
    patcher = load_network(DEPTH, "relative").patcher
    assert any(loaded.model is patcher for loaded in management.current_loaded_models)
    management.free_memory(1e30, management.get_torch_device())
    assert not any(loaded.model is patcher for loaded in management.current_loaded_models)
    assert torch.equal(run_node(nodes.RetraceEstimateDepth, image=image, model="relative").args[0], first)
    assert any(loaded.model is patcher for loaded in management.current_loaded_models)


def test_a_missing_model_is_a_message_that_says_which_folder_to_fill_with_what(models, nodes):
    with pytest.raises(ValueError, match="Estimate Depth: there is no depth model named 'gone'") as refusal:
        run_node(nodes.RetraceEstimateDepth, image=_images(1), model="gone")
    for part in (str(models), "config.json", "preprocessor_config.json", "model.safetensors", "Depth-Anything"):
        assert part in str(refusal.value)
    assert nodes.RetraceEstimateDepth.validate_inputs("gone") == str(refusal.value)
    assert nodes.RetraceEstimateDepth.validate_inputs("relative") is True
    assert nodes.RetraceEstimateDepth.validate_inputs(None) is True
    assert "person detection" in nodes.RetraceEstimatePose.validate_inputs("vitpose", "gone")
    assert nodes.RetraceEstimatePose.validate_inputs("vitpose", nodes.WHOLE_IMAGE) is True


def test_only_fitting_folders_are_offered(models, nodes):
    from retrace_pack.host.transformers_models import DEPTH, DETECTION, POSE, model_names

    assert model_names(DEPTH) == ["dpt", "metric", "relative"]
    assert model_names(POSE) == ["vitpose", "vitpose-plus"]
    assert model_names(DETECTION) == ["rtdetr"]
    with pytest.raises(ValueError, match="holds a model of type 'dpt', not a pose model"):
        run_node(nodes.RetraceEstimatePose, image=_images(1), model="dpt", detector=nodes.WHOLE_IMAGE, max_people=1)


def test_a_bad_entry_in_the_models_folder_costs_no_other_entry(models, nodes, tmp_path, monkeypatch):
    import folder_paths
    from retrace_pack.host.transformers_models import DEPTH, model_names

    folder = tmp_path / "transformers"
    shutil.copytree(models / "relative", folder / "relative")
    (folder / "loop").symlink_to("loop")
    broken = {"deep": "[" * 100_000, "digits": "9" * 5000, "text": '"depth_anything"', "bytes": "\udcff"}
    for name, text in broken.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    (folder / "looping").mkdir()
    (folder / "looping" / "config.json").symlink_to("config.json")
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    assert model_names(DEPTH) == ["relative"]
    for name in ("loop", "looping", *broken):
        with pytest.raises(
            ValueError, match=f"Estimate Depth: (there is no depth model named '{name}'|the folder .*{name})"
        ):
            run_node(nodes.RetraceEstimateDepth, image=_images(1), model=name)


def test_a_models_folder_that_cannot_be_read_costs_no_other_folder(models, tmp_path, monkeypatch):
    import errno
    import os

    import folder_paths
    from retrace_pack.host.transformers_models import DEPTH, model_names

    unreadable = tmp_path / "unreadable"
    unreadable.mkdir()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "transformers", ([str(unreadable)], set()))
    monkeypatch.setattr(folder_paths, "models_dir", str(models.parent))

    def failing(call):
        def run(path):
            if os.fspath(path) == str(unreadable):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path)

        return run

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    assert model_names(DEPTH) == ["dpt", "metric", "relative"]


@pytest.mark.parametrize("damage", ["no processor", "pickle only", "truncated", "tensors gone"])
def test_a_damaged_folder_is_refused(models, nodes, damage, tmp_path, monkeypatch):
    import folder_paths
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "transformers" / "broken"
    shutil.copytree(models / "relative", folder)
    weights = folder / "model.safetensors"
    wanted = {"no processor": "preprocessor_config.json", "pickle only": "model.safetensors"}.get(damage, "broken")
    if damage == "no processor":
        (folder / "preprocessor_config.json").unlink()
    elif damage == "pickle only":
        torch.save(load_file(weights), folder / "pytorch_model.bin")
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        state = load_file(weights)
        state.pop("head.conv1.weight")
        save_file(state, weights, metadata={"format": "pt"})
        wanted = "lack 1 of the model's tensors"
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    with pytest.raises(ValueError, match=wanted):
        run_node(nodes.RetraceEstimateDepth, image=_images(1), model="broken")


@pytest.mark.parametrize("name", ["vitpose", "vitpose-plus"])
def test_pose_is_what_transformers_gives_in_openpose_order(models, nodes, offline, name):
    import transformers

    image = _images(1)
    hint, keypoints = run_node(
        nodes.RetraceEstimatePose, image=image, model=name, detector=nodes.WHOLE_IMAGE, max_people=5, min_confidence=0.0
    ).args
    assert hint.shape == image.shape
    processor = transformers.AutoImageProcessor.from_pretrained(models / name)
    network = transformers.VitPoseForPoseEstimation.from_pretrained(models / name)
    boxes = [[[0.0, 0.0, 90.0, 70.0]]]
    with torch.inference_mode():
        pixels = processor(np.rint(image[0].numpy() * 255).astype(np.uint8), boxes=boxes, return_tensors="pt")
        expert = {"dataset_index": torch.tensor([0])} if name == "vitpose-plus" else {}
        coco = processor.post_process_pose_estimation(network(**pixels, **expert), boxes=boxes)[0][0]
    body = np.array(keypoints[0]["people"][0]["pose_keypoints_2d"]).reshape(18, 3)
    # nose, right wrist, left hip, left ear: their places in OpenPose's order and in COCO's.
    np.testing.assert_allclose(body[[0, 4, 11, 17], :2], coco["keypoints"][[0, 10, 11, 3]].numpy(), atol=1e-3)
    np.testing.assert_allclose(body[1, :2], coco["keypoints"][5:7].numpy().mean(0), atol=1e-3)
    assert keypoints[0]["canvas_width"] == 90 and keypoints[0]["canvas_height"] == 70


def test_the_detector_chooses_people_the_surest_first(models, nodes):
    from retrace_pack.host.transformers_models import DETECTION, _person_boxes, load_network
    from retrace_pack.preprocessors.pixels import as_rgb8

    image = _images(1)
    detector = load_network(DETECTION, "rtdetr")
    rgb = as_rgb8(image[0].numpy())
    output = detector.evaluate(detector.processor(images=rgb, return_tensors="pt")["pixel_values"])
    found = detector.processor.post_process_object_detection(output, threshold=0.0, target_sizes=[(70, 90)])[0]
    people = found["scores"][found["labels"] == 0]
    assert 0 < len(people) < len(found["labels"]), "the random detector must see people and other things"
    boxes = np.array(_person_boxes(detector, rgb, 0.0))
    assert 1 <= len(boxes) <= len(people)
    assert (
        (boxes[:, :2] >= 0).all()
        and (boxes[:, 0] + boxes[:, 2] <= 90).all()
        and (boxes[:, 1] + boxes[:, 3] <= 70).all()
    )
    surest = found["boxes"][found["labels"] == 0][people.argmax()].numpy()
    np.testing.assert_allclose(boxes[0, :2], np.clip(surest[:2], 0, None), atol=1e-3)

    _, few = run_node(
        nodes.RetraceEstimatePose, image=image, model="vitpose", detector="rtdetr", min_score=0.0, max_people=2
    ).args
    assert len(few[0]["people"]) == min(2, len(boxes))
    hint, nobody = run_node(
        nodes.RetraceEstimatePose,
        image=_images(2),
        model="vitpose",
        detector="rtdetr",
        min_score=1.0,
        max_people=2,
        min_confidence=0.0,
    ).args
    assert [frame["people"] for frame in nobody] == [[], []] and hint.shape == (2, 70, 90, 3) and not hint.any()


def test_keypoints_and_json_draw_the_same_as_the_estimate(models, nodes):
    hint, keypoints = run_node(
        nodes.RetraceEstimatePose,
        image=_images(2),
        model="vitpose",
        detector=nodes.WHOLE_IMAGE,
        max_people=1,
        min_confidence=0.0,
    ).args
    assert hint.any()
    options = {"width": 0, "height": 0, "min_confidence": 0.0, "wide_limbs": False}
    options |= {"body": True, "hands": True, "face": True}
    drawn = nodes.RetraceDrawPose.execute(json="", keypoints=keypoints, **options).args[0]
    from_text = nodes.RetraceDrawPose.execute(json=json.dumps(keypoints), **options).args[0]
    assert torch.equal(drawn, hint) and torch.equal(from_text, hint)
    with pytest.raises(ValueError, match="neither came"):
        nodes.RetraceDrawPose.execute(json="  ", **options)
    with pytest.raises(ValueError, match="both came"):
        nodes.RetraceDrawPose.execute(json="{}", keypoints=keypoints, **options)
    with pytest.raises(ValueError, match="Draw Pose: the text is not JSON"):
        nodes.RetraceDrawPose.execute(json="{", **options)


def test_an_interruption_stops_the_batch(models, nodes):
    import comfy.model_management as management

    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            run_node(nodes.RetraceEstimateDepth, image=_images(2), model="relative")
    finally:
        management.interrupt_current_processing(False)
