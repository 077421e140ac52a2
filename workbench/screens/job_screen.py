"""What the screen of jobs and the screen of a run have in common: a job that can be acted on."""

from __future__ import annotations

from textual.screen import Screen

from workbench.messages import Cancel, Hold, NewRun, Requeue, Resubmit
from workbench.model.job import Job
from workbench.model.sweep import Sweep


class JobScreen(Screen[None]):
    """Turns the commands for one job into messages to the app."""

    @property
    def chosen_job(self) -> Job | None:
        """The job that commands are about."""
        raise NotImplementedError

    def action_resubmit(self) -> None:
        """Start the same run again."""
        if job := self._job_or_say():
            self.post_message(Resubmit(job.id))

    def action_change(self) -> None:
        """Change the parameters and start that."""
        job = self._job_or_say()
        if isinstance(job, Sweep):
            self.post_message(NewRun(job.spec, over=job.over))
        elif job:
            self.post_message(NewRun(job.spec, resubmitted_from=job.id if job.state.is_over else None))

    def action_requeue(self) -> None:
        """Start the job again where it stopped."""
        if job := self._job_or_say():
            self.post_message(Requeue(job.id))

    def action_cancel(self) -> None:
        """End the job."""
        if job := self._job_or_say():
            self.post_message(Cancel(job.id))

    def action_hold(self) -> None:
        """Keep the job from starting, or let it go."""
        if job := self._job_or_say():
            self.post_message(Hold(job.id))

    def action_copy_id(self) -> None:
        """Put the job's id on the clipboard."""
        if job := self._job_or_say():
            self.app.copy_to_clipboard(job.id)
            self.notify(f"Copied {job.id}.")

    def _job_or_say(self) -> Job | None:
        job = self.chosen_job
        if job is None:
            self.notify("There is no job to do that with: n starts one.", severity="warning")
        return job
