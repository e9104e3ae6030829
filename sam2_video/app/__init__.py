"""The app: a local web page to click on, over the same sessions as everything else.

`server` puts it together, `desk` holds what is open, `work` is one clip that is worked on, `worker` the one
thread that the network runs in. `work_log`, `stored` and `kept` keep work on disk, so that memory does not
grow with a clip and a killed server loses nothing but the frame in work (decision 0019). docs/app.md has the
requests that the page makes.
"""
