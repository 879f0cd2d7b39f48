from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpResponse, JsonResponse
from django.urls import path

from shop.tasks import name_group


def groups(request):
    if request.method == "POST":
        name_group.delay(request.POST["name"])
        return HttpResponse(status=202)
    return JsonResponse({"groups": [group.name for group in Group.objects.all()]})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("groups/", groups),
    path("health/", lambda request: HttpResponse("ok")),
]
