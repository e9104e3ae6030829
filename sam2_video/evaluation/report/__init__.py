"""report.html: what was measured and how it went, as a page to be looked at and passed on.

write_report(out / "report.html", evaluation, data, lambda sequence: read_predictions(predictions, sequence))
"""

from sam2_video.evaluation.report.overlays import PictureOptions
from sam2_video.evaluation.report.page import write_report
from sam2_video.evaluation.report.view import ReportOptions

__all__ = ["PictureOptions", "ReportOptions", "write_report"]
