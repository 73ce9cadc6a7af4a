"""Run many photos through one ComfyUI workflow: items, a ledger of what is done, workers, a report.

ComfyUI never imports this folder. It only needs the packages that ComfyUI installs, plus Ray for more than one worker.
"""
